"""Open the sinks of the setting `events`."""

from __future__ import annotations

from collections.abc import Callable

from ..model.sinks import names_of, sinks_of
from ..settings import Settings
from ..store.store import Store
from .events import Events, Sink
from .log import Log


def open_events(settings: Settings, store: Store, events: Callable[..., Events] = Events) -> Events:
    """Return the events of an Authority. Nothing is connected and no thread begins before the first event.

    `events` makes it, of the arguments of that class. With a stream, `patauth events deliver` posts to the
    webhooks, and no other process does. Raise `ConfigurationError`.
    """
    wanted = sinks_of(settings.events)
    sinks: list[Sink] = [Log()] if wanted.log else []
    if wanted.stream is not None:
        from .outbox import Outbox
        from .stream import StreamWriter

        sinks.append(Outbox(StreamWriter(wanted.stream, store.event_stream(wanted.stream))))
    elif wanted.webhooks:
        from .outbox import Outbox
        from .webhook import Webhook

        sinks += [
            Outbox(Webhook(url, settings.webhook_secret, name=name))
            for url, name in zip(wanted.webhooks, names_of(wanted.webhooks), strict=True)
        ]
    return events(*sinks, tenant=settings.tenant)

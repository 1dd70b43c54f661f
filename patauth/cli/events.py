"""`patauth events`: deliver the events of a stream to webhooks."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from contextlib import closing
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from ..errors import StoreUnavailable
from ..model.sinks import names_of, sinks_of
from ..model.words import counted
from ..store.factory import open_store
from ..store.url import StoreUrl
from .context import Failure, message, named_settings, warnings_as_messages
from .options import Group
from .output import print_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..events.delivery import Delivery

_TRIES = 3  # that fail in a row before --once gives up, as the receiver is away
_REFUSALS = 100  # in a row before it does
_MINUTE = 60.0  # s between two words of how far it is
_PATIENCE = 15.0  # s for tries under way at the end: each has a shorter limit


@click.group(cls=Group)
def events() -> None:
    """Deliver events to webhooks.

    \b
    Example:
      export PATAUTH_EVENTS="log stream:audit webhook:https://hooks.example/patauth"
      patauth events deliver
    """


@events.command(short_help="Deliver the events of the stream to the webhooks.")
@click.option("--once", is_flag=True, help="End when no event waits any more, instead of waiting for more.")
def deliver(once: bool) -> None:
    """Deliver the events of the stream to the webhooks, as the setting `events` names both.

    Each event is delivered at least once, with the same id. While a receiver is away, the tries are further
    and further apart, and everything waits in the stream: up to about 100 000 events, and as many counts of
    refusals. An event that it refuses is tried again after four minutes to an hour, for three days; others
    go on. Those that the stream had to drop, or that were given up, are counted and said. Any number of these
    commands may run; what one that was killed had taken, another delivers two minutes later.

    SIGTERM ends it after the tries under way, with exit code 0. Exit code 1 means that a receiver wants no
    events any more, or with --once that some were not taken in this run. That ends after three tries in a row
    at a receiver that is away, or a hundred refusals; the next run begins with other events.

    \b
    Examples:
      patauth events deliver --store redis://127.0.0.1:6379/0
      patauth events deliver --once --quiet
    """
    settings = named_settings()
    wanted = sinks_of(settings.events)
    if wanted.stream is None or not wanted.webhooks:
        raise Failure("the setting events names no stream:NAME, or no webhook:URL to deliver to", 2)
    if StoreUrl.read(settings.store_url).engine == "memory":
        raise Failure("a memory: store is in one process alone, so there is nothing to deliver", 2)
    from ..events.delivery import Delivery, group_of
    from ..events.webhook import Webhook

    worker = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
    with warnings_as_messages():
        store = open_store(settings)
    with closing(store):
        store.start()
        deliveries = [
            Delivery(
                store.event_stream(wanted.stream),
                Webhook(url, settings.webhook_secret, name=name),
                group_of(url),
                worker,
            )
            for url, name in zip(wanted.webhooks, names_of(wanted.webhooks), strict=True)
        ]
        try:
            _run(deliveries, once=once)
        finally:
            for delivery in deliveries:
                delivery.close()
    _report(deliveries, once=once)


class _Ended(Exception):
    """SIGTERM has come."""


def _end(*_: Any) -> None:
    raise _Ended


def _run(deliveries: Sequence[Delivery], *, once: bool) -> None:
    """Deliver in a thread for each receiver, until all are done or SIGTERM comes."""
    stop, said = threading.Event(), SimpleQueue[str]()
    threads = [
        threading.Thread(target=_work, args=(delivery, once, stop, said), daemon=True)
        for delivery in deliveries
    ]
    for delivery in deliveries:
        message(f"Delivering to {delivery.name}.")
    before = signal.signal(signal.SIGTERM, _end)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            try:
                message(said.get(timeout=0.2))
            except Empty:
                pass
    except _Ended:
        message("Ending after the tries under way.")
    finally:
        signal.signal(signal.SIGTERM, before)
        stop.set()
        for thread in threads:
            thread.join(_PATIENCE)
    while not said.empty():
        message(said.get())


def _work(delivery: Delivery, once: bool, stop: threading.Event, said: SimpleQueue[str]) -> None:
    from ..events.delivery import IDLE

    failed = refused = abandoned = lost = told = 0
    is_down, delivered = False, 0
    tell_at = monotonic() + _MINUTE
    while not stop.is_set() and not delivery.is_gone:
        pause = delivery.step()
        if delivery.refusals and delivery.refused > refused:
            said.put(f"{delivery.name}: {delivery.problem}; that one waits, and others go on")
        elif delivery.failures > failed:
            said.put(f"{delivery.name}: {_why(delivery.problem)}; the next try is in {pause:.1f} s")
            is_down, delivered = True, delivery.delivered
        elif is_down and delivery.delivered > delivered:
            said.put(f"{delivery.name}: it takes events again")
            is_down = False
        if delivery.abandoned > abandoned:
            said.put(
                f"{delivery.name}: {counted(delivery.abandoned - abandoned, 'event')} given up: refused for"
                " three days"
            )
        if delivery.lost > lost:
            said.put(
                f"{delivery.name}: the stream was full and has dropped"
                f" {counted(delivery.lost - lost, 'event')} before delivery"
            )
        if monotonic() > tell_at and delivery.delivered > told:
            said.put(f"{delivery.name}: {counted(delivery.delivered, 'event')} delivered so far")
            told, tell_at = delivery.delivered, monotonic() + _MINUTE
        failed, refused = delivery.failures, delivery.refused
        abandoned, lost = delivery.abandoned, delivery.lost
        if once and (pause is None or failed >= _TRIES or delivery.refusals >= _REFUSALS):
            return
        stop.wait(IDLE if pause is None else pause)


def _why(problem: Exception | None) -> str:
    if isinstance(problem, StoreUnavailable):
        return f"the store does not answer ({problem.detail or problem})"
    return str(problem)


def _report(deliveries: Sequence[Delivery], *, once: bool) -> None:
    """Print what was done, and raise what the exit code tells."""
    names = ("delivered", "refused", "abandoned", "lost", "skipped")
    found = {name: sum(getattr(delivery, name) for delivery in deliveries) for name in names}
    print_facts(found, found.items())
    gone = [delivery.name for delivery in deliveries if delivery.is_gone]
    if gone:
        raise Failure(
            f"{', '.join(gone)}: the receiver wants no events any more (410); take it out of events"
        )
    if not once:
        return  # SIGTERM has ended it: what waits is for the next one
    for delivery in deliveries:
        if isinstance(delivery.problem, StoreUnavailable):
            raise delivery.problem
    if found["refused"]:
        raise Failure(
            "some events were not taken; all that are not given up wait in the stream, so run this again"
        )

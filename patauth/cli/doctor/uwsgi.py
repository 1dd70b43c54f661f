"""What `patauth doctor` finds in uWSGI's configuration.

uWSGI takes each option from a file in the form of INI too, and from the environment: `enable-threads` is
UWSGI_ENABLE_THREADS there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ...model.sinks import sinks_of
from ...settings import Settings
from ...store.url import StoreUrl
from .finding import Finding, ok, problem, warning

_OPTION = re.compile(r"(?m)^[ \t]*([A-Za-z][\w-]*)[ \t]*(?:=[ \t]*(.*?))?[ \t]*$")
_OFF = ("false", "off", "no", "0")


def judge_uwsgi(options: Mapping[str, str], where: str, settings: Settings) -> Iterator[Finding]:
    """Judge options of uWSGI by what patauth does with these settings. `where` names where they stand."""
    on = {name for name, value in options.items() if value.lower() not in _OFF}
    if on & {"enable-threads", "threads"}:
        yield ok("uwsgi", f"With {where}, threads run.")
    else:
        works = _works_in_threads(settings)
        yield (problem if works else warning)(
            "uwsgi",
            f"With {where}, uWSGI before 2.0.27 runs no thread between two requests, so"
            f" {works or 'the delivery of events, and what asks where a store is,'} would stand still.",
            "Write `enable-threads = true`, or `threads` with a number.",
        )
    if on & {"master", "processes", "workers"} and not on & {"lazy-apps", "lazy", "py-call-osafterfork"}:
        yield warning(
            "uwsgi",
            f"With {where}, workers are forked from a process that has loaded the app, and Python is not told"
            " of the fork: what libraries do after one does not happen.",
            "Write `py-call-osafterfork = true`, or `lazy-apps = true`.",
        )


def options_of_uwsgi(text: str) -> dict[str, str] | None:
    """Return the options of a file, by their names with `-`; None if it is none of uWSGI's."""
    _, found, section = text.partition("[uwsgi]")
    return _named(_OPTION.findall(re.split(r"(?m)^\[", section)[0])) if found else None


def options_of_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options that the environment sets."""
    prefix = "UWSGI_"
    found = ((name.removeprefix(prefix), text) for name, text in environ.items() if name.startswith(prefix))
    return _named(found)


def _named(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower().replace("_", "-"): text for name, text in pairs}


def _works_in_threads(settings: Settings) -> str:
    """Return what of patauth works in threads of its own."""
    sinks = sinks_of(settings.events)
    if sinks.webhooks or sinks.stream:
        return "the delivery of events"
    engine = StoreUrl.read(settings.store_url).engine
    return "what asks where the store is" if engine in ("sentinel", "cluster") else ""

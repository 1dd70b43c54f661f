"""Where `patauth doctor` finds the configurations of web servers: it reads them, and never runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...settings import Settings
from .apache import judge_apache
from .finding import Finding, problem
from .gunicorn import judge_gunicorn
from .nginx import judge_nginx
from .uwsgi import judge_uwsgi, options_of_environment, options_of_uwsgi

NAMES = ("apache.conf", "nginx.conf", "uwsgi.ini")  # in the working directory


def judge_web_servers(
    environ: Mapping[str, str], folder: Path, given: Sequence[Path], settings: Settings
) -> Iterator[Finding]:
    """Judge gunicorn's configuration, the files that are given, and those of these names in the folder."""
    yield from judge_gunicorn(environ, folder, settings.trusted_proxies)
    uwsgi_environ, has_uwsgi_file = options_of_environment(environ), False
    for path in dict.fromkeys([*given, *(folder / name for name in NAMES)]):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as trouble:
            if path in given:
                yield problem("files", f"{path} cannot be read ({trouble.strerror}).", "Name another file.")
            continue
        uwsgi = options_of_uwsgi(text)
        if uwsgi is not None:
            has_uwsgi_file = True
            yield from judge_uwsgi({**uwsgi, **uwsgi_environ}, path.name, settings)
        yield from judge_apache(path, text)
        yield from judge_nginx(path, text)
    if uwsgi_environ and not has_uwsgi_file:
        yield from judge_uwsgi(uwsgi_environ, "the environment (UWSGI_…)", settings)

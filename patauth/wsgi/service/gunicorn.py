"""The token service on gunicorn, with every setting that matters for security said, and no secret in a log.

gunicorn's own configuration file and GUNICORN_CMD_ARGS are not read: what is safe here stays so. SIGTERM and
SIGINT end it in good order, SIGHUP reads the settings anew and replaces the workers one by one; settings that
cannot be used are logged, and the old ones stay.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ...authority import Authority
from ...errors import ConfigurationError, PatAuthError
from ...operations.failures import forwarded_address
from ...settings import Settings
from .app import Standalone

_log = logging.getLogger("patauth")

_SAFE: dict[str, Any] = {
    "worker_class": "gthread",
    "timeout": 30,  # s without a sign of life; a request's store calls have 0.5
    "graceful_timeout": 10,  # s for requests in flight, at the end and at a reload
    "keepalive": 5,  # s
    "limit_request_line": 4094,  # bytes
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,  # bytes
    # By default a header SCRIPT_NAME or PATH_INFO from this machine rewrites the path, and a proxy may pass a
    # client's on. Nothing here needs either, nor the scheme.
    "forwarded_allow_ips": "127.0.0.1",
    "forwarder_headers": "",
    "secure_scheme_headers": {},
    "header_map": "drop",
    "proxy_protocol": "off",
    # Each worker makes its own Authority, of settings that the arbiter has found good: a reload takes effect.
    "preload_app": False,
    "reload": False,
    "control_socket_disable": True,  # a second way in, which nobody asked for
    "proc_name": "patauth",
    "access_log_format": '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms',
}

_CREDENTIALS = re.compile(
    r"(?i)\b(basic|bearer)\s+[^\s,'\"]+"
    r"|((?:client_secret|client_assertion|access_token|token|password|secret)=)[^&\s'\"]*"
)
_JWT = r"eyJ[0-9A-Za-z_-]+\.eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+"


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn over `Standalone`. `read_settings` is asked again at each reload."""

    def __init__(
        self, read_settings: Callable[[], Settings], *, bind: str, workers: int, threads: int, quiet: bool
    ) -> None:
        self._read_settings = read_settings
        self.settings = read_settings()
        self._options = {
            "bind": bind,
            "workers": workers,
            "threads": threads,
            "loglevel": "warning" if quiet else "info",
            "accesslog": None if quiet else "-",
        }
        super().__init__()
        try:
            self.cfg.address  # noqa: B018 - read here, so that a wrong one is no surprise later
        except RuntimeError as problem:
            raise ConfigurationError(f"bind: {problem}") from None

    def load_config(self) -> None:
        """For gunicorn: at the start and at each reload."""
        for name, value in {**_SAFE, **self._options}.items():
            self.cfg.set(name, value)
        log_class = type("ServiceLog", (ServiceLog,), {"settings": self.settings})
        self.cfg.set("logger_class", log_class)

    def reload(self) -> None:
        """For gunicorn: on SIGHUP."""
        try:
            self.settings = self._read_settings()
        except PatAuthError as problem:
            _log.error("the settings cannot be used, and the old ones stay: %s", problem)
        self.callable = None
        super().reload()

    def load(self) -> Standalone:
        """For gunicorn: the application, in each worker."""
        authority = Authority(self.settings)
        try:
            authority.ping()  # the first request need not wait for it
        except PatAuthError as problem:
            _log.warning("the store does not answer yet: %s", problem.detail or problem)
        return Standalone(authority)


class ServiceLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's log without secrets: the path alone of a URL, and nothing that looks like a credential."""

    settings: Settings

    def setup(self, cfg: Any) -> None:
        """For gunicorn: at the start and at each reload."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(Redacting(handler.formatter, self.settings))

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """For gunicorn: the fields of an access log line."""
        fields: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        peer, hops = environ.get("REMOTE_ADDR"), self.settings.trusted_proxies
        client = forwarded_address(peer, environ.get("HTTP_X_FORWARDED_FOR"), hops)
        # Quoted: what a client sends must not look like another line, or another field.
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace")
        return {**fields, "h": quote(client or "-", safe=".:-"), "U": quote(path, safe="/:@!$&'()*+,;=~")}


class Redacting(logging.Formatter):
    """A formatter's lines with every credential hidden, in tracebacks too."""

    def __init__(self, inner: logging.Formatter | None, settings: Settings) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._ours = re.compile("|".join([*settings.format.patterns().values(), _JWT]))

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = self._ours.sub("[hidden]", self._inner.format(record))
        return _CREDENTIALS.sub(lambda match: f"{match[2] or match[1] + ' '}[hidden]", text)


def log_to_stderr(settings: Settings, *, quiet: bool) -> None:
    """Send patauth's own log there: warnings, and the audit trail unless `quiet`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Redacting(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"), settings)
    )
    logger = logging.getLogger("patauth")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False

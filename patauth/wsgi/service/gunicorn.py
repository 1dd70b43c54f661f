"""The token service on gunicorn, with every option that matters for security set, and no secret in a log.

gunicorn's own configuration file and GUNICORN_CMD_ARGS are not read, so nothing can undo these options.
SIGTERM and SIGINT end the server after the requests in flight. SIGHUP reads the settings again and replaces
the workers one by one. Settings that cannot be used are logged, and the old ones stay.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ...authority import Authority
from ...errors import ConfigurationError, PatAuthError
from ...settings import Settings
from ..redaction import Redaction
from ..request import client_address
from .app import Standalone
from .grpc_process import GrpcProcess

_log = logging.getLogger("patauth")

_SAFE: dict[str, Any] = {
    "worker_class": "gthread",
    "timeout": 30,  # s without a sign of life from a worker; the store calls of a request take at most 0.5
    "graceful_timeout": 10,  # s for requests in flight, at the end and at a reload
    "keepalive": 5,  # s
    "limit_request_line": 4094,  # bytes
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,  # bytes
    # By default gunicorn lets a header SCRIPT_NAME or PATH_INFO from this machine rewrite the path, and a
    # proxy may pass on the header of a client. This service needs neither of them, nor the scheme.
    "forwarded_allow_ips": "127.0.0.1",
    "forwarder_headers": "",
    "secure_scheme_headers": {},
    "header_map": "drop",
    "proxy_protocol": "off",
    # Each worker makes its own Authority, of settings that the arbiter has checked, so a reload takes effect.
    "preload_app": False,
    "reload": False,
    "control_socket_disable": True,  # nothing uses this second way in
    "proc_name": "patauth",
    "access_log_format": '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms',
}


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Runs `Standalone` on gunicorn. It calls `read_settings` at the start and at each reload."""

    def __init__(
        self, read_settings: Callable[[], Settings], *, bind: str, workers: int, threads: int, quiet: bool
    ) -> None:
        self._read_settings = read_settings
        self._grpc: GrpcProcess | None = None
        self.settings = read_settings()
        self._options = {
            "bind": bind,
            "workers": workers,
            "threads": threads,
            "loglevel": "warning" if quiet else "info",
            "accesslog": None if quiet else "-",
            "on_exit": self._stop_grpc,
        }
        super().__init__()
        try:
            self.cfg.address  # noqa: B018 - read here, so that a wrong address is an error at once
        except RuntimeError as problem:
            raise ConfigurationError(f"bind: {problem}") from None

    def run_with_grpc(self, command: Sequence[str]) -> None:
        """Run, and keep a command running that serves gRPC."""
        self._grpc = GrpcProcess(command)
        self.run()

    def _stop_grpc(self, server: Any) -> None:
        if self._grpc is not None:
            self._grpc.stop()

    def load_config(self) -> None:
        """Set gunicorn's options. gunicorn calls this at the start and at each reload."""
        for name, value in {**_SAFE, **self._options}.items():
            self.cfg.set(name, value)
        log_class = type("ServiceLog", (ServiceLog,), {"settings": self.settings})
        self.cfg.set("logger_class", log_class)

    def reload(self) -> None:
        """Read the settings again. gunicorn calls this on SIGHUP."""
        try:
            self.settings = self._read_settings()
        except PatAuthError as problem:
            _log.error("the new settings cannot be used, so the old ones stay: %s", problem)
        else:
            if self._grpc is not None:
                self._grpc.restart()
        self.callable = None
        super().reload()

    def load(self) -> Standalone:
        """Return the application. gunicorn calls this in each worker."""
        authority = Authority(self.settings)
        try:
            authority.ping()  # so that the first request does not wait for the store
        except PatAuthError as problem:
            _log.warning("the store does not answer yet: %s", problem.detail or problem)
        return Standalone(authority)


class ServiceLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes gunicorn's log without secrets: only the path of a URL, and no credentials."""

    settings: Settings

    def setup(self, cfg: Any) -> None:
        """Add the formatter. gunicorn calls this at the start and at each reload."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(Redacting(handler.formatter, self.settings))

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """Return the fields of a line of the access log. gunicorn calls this for each request."""
        fields: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        settings = self.settings
        client = client_address(settings.trusted_proxies, settings.proxy_networks, environ).charged
        # Quoted, so that nothing a client sends looks like another line or another field.
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace")
        return {**fields, "h": quote(client or "-", safe=".:-"), "U": quote(path, safe="/:@!$&'()*+,;=~")}


class Redacting(logging.Formatter):
    """Formats records as another formatter does, and hides every credential, in tracebacks too."""

    def __init__(self, inner: logging.Formatter | None, settings: Settings) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._hide = Redaction(settings.credential_prefixes).hide

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return self._hide(self._inner.format(record))


def log_to_stderr(settings: Settings, *, quiet: bool) -> None:
    """Send patauth's own log to stderr: warnings, and unless `quiet` the audit trail."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Redacting(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"), settings)
    )
    logger = logging.getLogger("patauth")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False

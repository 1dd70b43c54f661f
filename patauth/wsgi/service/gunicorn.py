"""The token service on gunicorn, with every option that matters for security set, and no secret in a log.

gunicorn's own configuration file and GUNICORN_CMD_ARGS are not read, so nothing can undo these options.
SIGTERM and SIGINT end the server after the requests in flight. SIGHUP reads the settings again and replaces
the workers one by one. Settings that cannot be used are logged, and the old ones stay. SIGUSR2 does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ...errors import ConfigurationError, PatAuthError
from ...events.request import request_id
from ...logs import REQUEST_ID
from ...observe.observer import ignore
from ...settings import Settings
from ..request import PAT_ID, client_address
from .app import Standalone
from .logs import formatter_of
from .metrics import forget_process, forget_worker, open_authority
from .side_process import SideProcess

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
        self,
        read_settings: Callable[[], Settings],
        *,
        bind: str,
        workers: int,
        threads: int,
        quiet: bool,
        as_json: bool = False,
    ) -> None:
        self._read_settings = read_settings
        self._as_json = as_json  # the log
        self._side_processes: list[SideProcess] = []
        self.settings = read_settings()
        self._options = {
            "bind": bind,
            "workers": workers,
            "threads": threads,
            "loglevel": "warning" if quiet else "info",
            "accesslog": None if quiet else "-",
            "when_ready": _ignore_usr2,
            "on_exit": self._stop_side_processes,
        }
        if self.settings.metrics:
            self._options["child_exit"] = forget_worker
        super().__init__()
        try:
            self.cfg.address  # noqa: B018 - read here, so that a wrong address is an error at once
        except RuntimeError as problem:
            raise ConfigurationError(f"bind: {problem}") from None

    def run_with(self, commands: Mapping[str, Sequence[str]]) -> None:
        """Run, and keep commands running that serve other ports, each by the name of its port."""
        ended = forget_process if self.settings.metrics else ignore
        self._side_processes = [SideProcess(one, port=port, ended=ended) for port, one in commands.items()]
        self.run()

    def _stop_side_processes(self, server: Any) -> None:
        for process in self._side_processes:
            process.stop()

    def load_config(self) -> None:
        """Set gunicorn's options. gunicorn calls this at the start and at each reload."""
        for name, value in {**_SAFE, **self._options}.items():
            self.cfg.set(name, value)
        told = {"settings": self.settings, "as_json": self._as_json}
        log_class = type("ServiceLog", (ServiceLog,), told)
        self.cfg.set("logger_class", log_class)

    def reload(self) -> None:
        """Read the settings again. gunicorn calls this on SIGHUP."""
        try:
            self.settings = self._read_settings()
        except PatAuthError as problem:
            _log.error("the new settings cannot be used, so the old ones stay: %s", problem)
        else:
            for process in self._side_processes:
                process.restart()
        self.callable = None
        super().reload()

    def load(self) -> Standalone:
        """Return the application. gunicorn calls this in each worker."""
        authority = open_authority(self.settings)
        try:
            authority.ping()  # so that the first request does not wait for the store
        except PatAuthError as problem:
            _log.warning("the store does not answer yet: %s", problem.detail or problem)
        return Standalone(authority)


def _ignore_usr2(arbiter: Any) -> None:
    """Keep gunicorn from starting a second master on SIGUSR2: that has neither the ports nor the counts."""
    arbiter.handle_usr2 = lambda: _log.warning("SIGUSR2 is ignored; send SIGHUP to replace the workers")


class ServiceLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes gunicorn's log without secrets: only the path of a URL, and no credentials."""

    settings: Settings
    as_json: bool

    def setup(self, cfg: Any) -> None:
        """Add the formatter. gunicorn calls this at the start and at each reload."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(formatter_of(self.settings, handler.formatter, as_json=self.as_json))

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Write a line of the access log. gunicorn calls this for each request."""
        if self.as_json and self.access_log_enabled:
            fields = self._fields(resp, environ, request_time)
            known = {name: value for name, value in fields.items() if value is not None}
            self.access_log.info("%(method)s %(path)s %(status)d", fields, extra=known)
        else:
            super().access(resp, req, environ, request_time)

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
        """Return what the format of a line as text names. gunicorn calls this for each request."""
        fields = self._fields(resp, environ, request_time)
        return {
            "t": self.now(),
            "h": fields["address"] or "-",
            "m": fields["method"],
            "U": fields["path"],
            "s": fields["status"],
            "B": fields["bytes"],
            "M": request_time // timedelta(milliseconds=1),
        }

    def _fields(self, resp: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
        settings = self.settings
        client = client_address(settings.trusted_proxies, settings.proxy_networks, environ).charged
        # Quoted, so that nothing a client sends looks like another line or another field.
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace")
        return {
            "method": environ.get("REQUEST_METHOD"),
            "path": quote(path, safe="/:@!$&'()*+,;=~"),
            "status": int(str(resp.status).split(None, 1)[0]),
            "bytes": resp.sent,
            "durationSeconds": request_time.total_seconds(),
            "address": client and quote(client, safe=".:-"),
            "patId": environ.get(PAT_ID),
            REQUEST_ID: request_id(environ),
        }

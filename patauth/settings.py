"""Settings: one frozen dataclass, made from keywords, the environment or a framework's configuration.

Each field has its unit and meaning next to it. A wrong value raises `ConfigurationError` at the start, never
during a request.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from .crypto.keyring import read_key
from .crypto.pepper import Peppers, read_peppers
from .crypto.profiles import PROFILES, Profile
from .errors import ConfigurationError, InvalidRequest
from .files import content_of_secret
from .model.address import check_proxy_networks
from .model.credentials import Prefixes, read_prefixes
from .model.hooks import Hook, Rule, read_hook, read_rule
from .model.http_names import (
    CHALLENGES,
    names_of,
    read_challenges,
    read_example_url,
    read_issuer,
    read_login_url,
    read_origins,
    read_token_headers,
    words_of,
)
from .model.owner_types import OWNER_TYPES
from .model.pat import check_id
from .model.quota import Quota, parse
from .model.scopes import DEFAULT_IGNORED
from .model.scopes import check as check_scopes
from .model.sinks import read_sinks, read_webhook_secrets, sinks_of

MIN_ACCESS_TOKEN_TTL, MAX_ACCESS_TOKEN_TTL = 15, 43_200  # s, of the management API
# Arguments of `PatAuthMiddleware` that belong to the code of an app.
CODE_ONLY = ("protect", "public", "optional", "require", "cors", "on_refusal")
SURFACE_NAMES = ("oauth", "isc", "zitadel", "page", "openapi")

T = TypeVar("T")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SECRETS = ("pepper", "secret_key", "store_url", "webhook_secret")  # PATAUTH_<NAME>_FILE may name a file
_NOT_SETTINGS = {"PATAUTH_ENGINE"}  # the binary of `local:`, which the engine reads itself


def parse_duration(text: str) -> int:
    """Return the seconds of a whole number with a unit of `s m h d w`, such as `30d`; no unit is seconds.

    Raise `ValueError`.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text.strip())
    if match is None:
        raise ValueError("give an integer and one of s m h d w, such as 30d or 12h")
    return int(match[1]) * _UNITS[match[2] or "s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Holds all settings. Times are in seconds. Every setting except a callable can also be a text.

    Raise `ConfigurationError`, which names the setting and never repeats a value that may be secret.
    """

    # the store
    store_url: str = field(repr=False)  # may hold a password
    key_prefix: str = "patauth"  # separates environments within one server
    secret_key: bytes | None = field(default=None, repr=False)  # 32 bytes; None: the store keeps one
    connect_timeout: float = 0.2
    command_timeout: float = 0.25
    max_connections: int = 64  # per process
    # What a change waits for: this number of replicas, or the disk; None: what the engine promises.
    durability: int | Literal["disk"] | None = None
    durability_timeout: float = 0.2
    sentinel_lost: str = "refuse"  # or "continue": what to do when no majority of the Sentinels answers
    # quotas
    request_quota: Quota = Quota(100, 10)  # of each PAT, its access tokens included
    exchange_quota: Quota = Quota(60, 60)  # of each PAT
    create_quota: Quota = Quota(60, 3600)  # of each owner: PATs that they make, by a PAT or signed in
    person_quota: Quota = Quota(100, 10)  # of each signed-in person, at the management API
    failure_quota: Quota = Quota(20, 60)  # of each client address: refused ids and secrets
    failure_entries: int = 10_000  # addresses that a process remembers
    trusted_proxies: int = 0  # hops whose X-Forwarded-For is believed
    address_detail: str = "full"  # what a PAT keeps of the address of its last use; or "prefix", "none"
    # Where they are; "unix": on a Unix socket. Empty: anywhere, so no client's address is known for certain.
    proxy_networks: tuple[str, ...] = ()
    # hashing
    hash_profile: Profile = PROFILES["owasp"]
    pepper: Peppers = field(default=(), repr=False)  # oldest to newest
    hash_slots: int = field(default_factory=lambda: min(1024, _cores()))  # hashes at a time, per process
    hash_queue: int = 256  # callers that may wait for a slot, and as many that make or rotate PATs
    hash_wait: float = 2.0  # how long they wait
    proof_ttl: float = 900.0  # how long a hash check is remembered
    proof_entries: int = 10_000  # hash checks, and credentials that were good, that a process remembers
    # policy
    tenant: str = "default"  # the organisation that this Authority serves
    access_token_ttl: int = 900  # 15-43200; a PAT may have its own
    access_token_format: str = "opaque"  # noqa: S105 - or "jwt", which needs an issuer and keys
    audience: tuple[str, ...] | None = None  # of signed access tokens; None: the issuer
    # The private keys: a directory, or files from the oldest to the newest. None: DIR/keys of `local:DIR`.
    keys: tuple[str, ...] | None = None
    max_pats_per_owner: int = 10  # expired ones do not count
    max_kept_per_owner: int = 50  # expired ones; the oldest go first
    max_tokens_per_secret: int = 1000  # access tokens that live at once
    max_lifetime: int | None = None  # of a PAT; None: no limit, so it may never expire
    expiry_warning: int = 7 * 86_400  # how long before its expiry answers to a PAT name it; 0: never
    retention: int = 30 * 86_400  # how long an expired PAT stays listed and keeps its name
    scopes: Mapping[str, str] | None = None  # the catalogue, scope -> plain words; None: any scope
    ignored_scopes: tuple[str, ...] = DEFAULT_IGNORED  # clients always ask for these
    credential_prefixes: tuple[Prefixes, ...] = (Prefixes(),)  # newest first
    owner_types: tuple[str, ...] | None = None  # only owners of these types get new PATs; None: any type
    may_act_in: Rule | None = None  # lets a caller act in another tenant; set in code. None: never
    manages: Rule | None = None  # says if a caller manages an owner; set in code. None: nobody does
    # events
    events: tuple[str, ...] = field(default=("log",), repr=False)  # log, stream:NAME, webhook:URL
    webhook_secret: tuple[bytes, ...] = field(default=(), repr=False)  # signs; two during a rotation
    metrics: bool = False  # count and time what happens, for Prometheus
    traces: bool = False  # tell OpenTelemetry of each authentication
    # people, whom the application has signed in
    identify: Hook | None = None  # returns the `Person` who sends a request. None: nobody is signed in
    reauthenticate: Hook | None = None  # may refuse until they confirm who they are. None: not asked
    login_url: str | None = None  # where they sign in; `{next}` in it is the path to come back to
    page_example_url: str | None = None  # the page shows a curl of it; None: the application's root
    page_folder: Path | None = None  # your own templates and texts of the page; None: there are none
    # HTTP
    issuer: str | None = None  # the URL of patauth as clients know it; None: no metadata is published
    path_prefix: str = ""  # of patauth's own routes
    page_limit_zitadel: int = 1000  # PATs on a page of the ZITADEL dialect
    surfaces: tuple[str, ...] = ("oauth",)  # the groups of patauth's own routes that are on
    realm: str = "patauth"  # of the challenges
    challenges: tuple[str, ...] = CHALLENGES  # of a 401, in this order
    token_headers: tuple[str, ...] = ()  # header fields that may hold a token, such as X-API-Key
    cors_origins: tuple[str, ...] = ()  # pages of these may read the answers; "*": all
    keep_authorization: bool = False  # leave HTTP_AUTHORIZATION for the wrapped app

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """Return settings from keywords. Raise `ConfigurationError` for wrong values and unknown names."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigurationError(f"unknown setting {unknown[0]!r}; known are: {', '.join(sorted(known))}")
        if not given.get("store_url"):
            raise ConfigurationError(
                "no store: set store_url (PATAUTH_STORE_URL), for example 'local:./patauth-data'"
                " or 'redis://127.0.0.1:6379/0'"
            )
        return cls(**given)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = read_named(item.name, _READERS[item.name], getattr(self, item.name))
            object.__setattr__(self, item.name, value)
        if self.proxy_networks and not self.trusted_proxies:
            raise ConfigurationError(
                "proxy_networks: it needs trusted_proxies, the number of proxies that a request passes"
            )
        # With the store key in the store, the secret tags there could check guesses in spite of a pepper.
        if self.pepper and self.secret_key is None:
            raise ConfigurationError("pepper: it needs secret_key, the store key outside of the store")
        if self.secret_key in [pepper.key for pepper in self.pepper if pepper]:
            raise ConfigurationError("pepper: it is the same key as secret_key; make another key")
        if sinks_of(self.events).webhooks and not self.webhook_secret:
            raise ConfigurationError("events: a webhook needs webhook_secret, which signs what is sent")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Return settings from `PATAUTH_<NAME>`, or a file that `PATAUTH_<NAME>_FILE` names; keywords win.

        Only secrets can be in files. Raise `ConfigurationError`, and warn of names that are not settings.
        """
        environ = os.environ if environ is None else environ
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith("PATAUTH_") or variable in _NOT_SETTINGS:
                continue
            name = variable.removeprefix("PATAUTH_").lower()
            if name.endswith("_file") and name.removesuffix("_file") in _SECRETS:
                name = name.removesuffix("_file")
                text = content_of_secret(variable, text)
            if name in values:
                raise ConfigurationError(f"{variable}: the environment sets {name} twice")
            if name in known:
                values[name] = text
            elif name in CODE_ONLY:
                warnings.warn(
                    f"{variable} is not read from the environment: it belongs to the code of the app, as an"
                    " argument of PatAuthMiddleware, or to Flask's configuration or Django's settings",
                    stacklevel=2,
                )
            else:
                warnings.warn(f"{variable} is not a setting of patauth; is it misspelt?", stacklevel=2)
        return cls.of(**{**values, **given})

    @property
    def signs_tokens(self) -> bool:
        """Whether access tokens are JWTs."""
        return self.access_token_format == "jwt"  # noqa: S105


def secret_files(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (variable, path) for each `PATAUTH_<NAME>_FILE` that names the file of a secret."""
    names = [f"PATAUTH_{name.upper()}_FILE" for name in _SECRETS]
    return [(name, environ[name]) for name in names if name in environ]


def read_named(name: str, read: Callable[[Any], T], value: Any) -> T:
    """Return what `read` makes of a value. Raise `ConfigurationError`, which names the setting."""
    try:
        return read(value)
    except (ValueError, TypeError, InvalidRequest, ConfigurationError) as problem:
        raise ConfigurationError(f"{name}: {problem}") from None


def _cores() -> int:
    """Return how many processors this process may use. In a container these may not be all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# -- one reader for each setting -----------------------------------------------------------------------------


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"give a whole number from {low} to {high}")
        return value

    return read


def _seconds(low: int, high: int) -> Callable[[Any], int]:
    whole = _whole(low, high)

    def read(value: Any) -> int:
        if isinstance(value, timedelta):
            value = int(value.total_seconds())
        return whole(parse_duration(value) if isinstance(value, str) else value)

    return read


def _fraction(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"give a number of seconds from {low} to {high}")
        return float(value)

    return read


def _quota(value: Any) -> Quota:
    if isinstance(value, Quota):
        return value
    return parse(value if isinstance(value, str) else "")


def _matching(pattern: str, help_text: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(help_text)
        return value

    return read


def _optional(read: Callable[[Any], Any], *nothing: str) -> Callable[[Any], Any]:
    """Return a reader that returns None for None and for the texts `nothing`, and else asks `read`."""
    return lambda value: None if value is None or value in nothing else read(value)


def _profile(value: Any) -> Profile:
    if isinstance(value, Profile):
        return value  # only code can choose a weaker profile, so it does not happen by accident
    offered = sorted(set(PROFILES) - {"testing"})
    if value not in offered:
        raise ValueError(f"give one of {', '.join(offered)}")
    return PROFILES[value]


def _catalogue(value: Any) -> Mapping[str, str]:
    if isinstance(value, str):
        value = dict.fromkeys(value.split(), "")
    if not isinstance(value, Mapping) or not all(isinstance(words, str) for words in value.values()):
        raise TypeError("give scopes and what they mean: {'reports:read': 'read reports'}")
    check_scopes(list(value))
    return dict(value)


def _ignored(value: Any) -> tuple[str, ...]:
    words = words_of(value)
    if "*" in words:  # every request would get all scopes of its PAT
        raise ValueError("'*' alone would ignore every scope; give a beginning, such as urn:zitadel:*")
    return words


def _audience(value: Any) -> tuple[str, ...]:
    names = words_of(value)
    once = names and len(set(names)) == len(names)
    if not once or not all(re.fullmatch("[!-~]{1,256}", name) for name in names):
        raise ValueError("give one name or several, each once, such as 'https://api.example.com'")
    return names


def _paths(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, Path) else value.split() if isinstance(value, str) else value
    paths = tuple(map(os.fspath, values))
    usable = (isinstance(path, str) and path and b"\0" not in os.fsencode(path) for path in paths)
    if not paths or not all(usable):
        raise ValueError("give the path of a directory, or of files with blanks between")
    return paths


def _folder(value: Any) -> Path:
    folder = Path(value)
    if not os.path.isdir(folder):  # not Path.is_dir, which raises for some texts
        raise ValueError("give the path of a directory that is there")
    return folder


def _durability(value: Any) -> int | Literal["disk"]:
    if value == "disk":
        return "disk"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 99:
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"replicas:([1-9][0-9]?)", value)):
        return int(match[1])
    raise ValueError("give 'engine', 'disk' or 'replicas:N'")


def read_surfaces(value: Any) -> tuple[str, ...]:
    """Return the names of surfaces in a text or a list. Raise `ValueError`."""
    names = names_of(value)
    for name in names:
        if name not in SURFACE_NAMES:
            raise ValueError(f"there is no surface {name!r}; give some of: {', '.join(SURFACE_NAMES)}")
    return names


def _owner_types(value: Any) -> tuple[str, ...]:
    words = words_of(value)
    if not words or not set(words) <= OWNER_TYPES:
        raise ValueError("give types of the management API, such as 'IDENTITY APPLICATION'")
    return words


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
            value.lower()
        )
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return value


_warning = _seconds(0, 3660 * 86_400)
_READERS: dict[str, Callable[[Any], Any]] = {
    "store_url": _matching(r"[ -~]+", "give a URL"),
    "key_prefix": _matching(r"[A-Za-z0-9_.:-]{1,64}", "give 1 to 64 letters, digits and _ . : -"),
    "secret_key": _optional(read_key),
    "request_quota": _quota,
    "exchange_quota": _quota,
    "create_quota": _quota,
    "person_quota": _quota,
    "failure_quota": _quota,
    "failure_entries": _whole(1, 10_000_000),
    "access_token_ttl": _seconds(MIN_ACCESS_TOKEN_TTL, MAX_ACCESS_TOKEN_TTL),
    "access_token_format": _matching("opaque|jwt", "give opaque or jwt"),
    "audience": _optional(_audience, "none"),
    "keys": _optional(_paths, "none"),
    "hash_profile": _profile,
    "pepper": read_peppers,
    "hash_slots": _whole(1, 1024),
    "hash_queue": _whole(0, 100_000),
    "hash_wait": _fraction(0.0, 60.0),
    "proof_ttl": _fraction(0, 86_400),
    "proof_entries": _whole(1, 10_000_000),
    "max_pats_per_owner": _whole(1, 100_000),
    "max_kept_per_owner": _whole(0, 1_000_000),
    "max_tokens_per_secret": _whole(1, 1_000_000),
    "expiry_warning": lambda value: 0 if value == "none" else _warning(value),
    "max_lifetime": _optional(_seconds(1, 100 * 366 * 86_400), "none"),
    "retention": _seconds(0, 3660 * 86_400),
    "tenant": lambda value: check_id(value, "the id"),
    "scopes": _optional(_catalogue),
    "ignored_scopes": _ignored,
    "manages": _optional(read_rule),
    "may_act_in": _optional(read_rule),
    "owner_types": _optional(_owner_types),
    "page_limit_zitadel": _whole(1, 10_000),
    "durability": _optional(_durability, "engine"),
    "durability_timeout": _fraction(0.001, 60),
    "sentinel_lost": _matching("refuse|continue", "give refuse or continue"),
    "trusted_proxies": _whole(0, 100),
    "address_detail": _matching("full|prefix|none", "give full, prefix or none"),
    "proxy_networks": lambda value: check_proxy_networks(words_of(value)),
    "connect_timeout": _fraction(0.001, 60),
    "command_timeout": _fraction(0.001, 60),
    "max_connections": _whole(1, 100_000),
    "credential_prefixes": read_prefixes,
    "events": read_sinks,
    "webhook_secret": read_webhook_secrets,
    "metrics": _truth,
    "traces": _truth,
    "identify": _optional(read_hook, "none"),
    "reauthenticate": _optional(read_hook, "none"),
    "login_url": _optional(read_login_url, "none"),
    "page_example_url": _optional(read_example_url, "none"),
    "page_folder": _optional(_folder, "none"),
    "issuer": _optional(read_issuer, "none"),
    "path_prefix": _matching(
        r"(?:/[A-Za-z0-9._~-]+)*", "give '' or a path such as /auth, without a last '/'"
    ),
    "surfaces": read_surfaces,
    "realm": _matching(
        r"[ !#-\[\]-~]{1,128}", "give 1 to 128 ASCII characters without quotes and backslashes"
    ),
    "challenges": read_challenges,
    "token_headers": read_token_headers,
    "cors_origins": read_origins,
    "keep_authorization": _truth,
}

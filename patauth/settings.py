"""Settings: one frozen dataclass, from keywords, the environment or Flask's configuration.

Each field says its unit and why its default is what it is. A setting that is not understood is a
`ConfigurationError` at start, never a surprise at a request.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from .crypto.keyring import read_key
from .crypto.pepper import Peppers, read_peppers
from .crypto.profiles import PROFILES, Profile
from .errors import ConfigurationError, InvalidRequest
from .model.caller import Caller
from .model.credentials import Format, Prefixes
from .model.owner_types import OWNER_TYPES
from .model.pat import check_id
from .model.quota import Quota, parse
from .model.scopes import DEFAULT_IGNORED
from .model.scopes import check as check_scopes

MIN_ACCESS_TOKEN_TTL, MAX_ACCESS_TOKEN_TTL = 15, 43_200  # s, of the management API
SURFACES = ("oauth", "isc", "zitadel", "openapi")

Rule = Callable[[Caller, str], bool]  # of a caller and the id of an owner or a tenant

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SECRETS = ("pepper", "secret_key", "store_url")  # also read from the file that PATAUTH_<NAME>_FILE names


def parse_duration(text: str) -> int:
    """Seconds of an integer with one of `s m h d w`, such as `30d`; without a unit, seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text.strip())
    if match is None:
        raise ValueError("give an integer and one of s m h d w, such as 30d or 12h")
    return int(match[1]) * _UNITS[match[2] or "s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set. Seconds unless said otherwise; texts are understood wherever a value is.

    Raises `ConfigurationError`, which names the setting, and never repeats one that may be secret.
    """

    # the store
    store_url: str = field(repr=False)  # may hold a password
    key_prefix: str = "patauth"  # separates environments within one server
    secret_key: bytes | None = field(default=None, repr=False)  # 32 bytes; None: made in the store
    connect_timeout: float = 0.2
    command_timeout: float = 0.25
    max_connections: int = 64  # per process
    durability: int | None = None  # replicas that a revocation waits for; None: as the engine does it
    durability_timeout: float = 0.2
    # quotas
    request_quota: Quota = Quota(100, 10)  # of each PAT, its access tokens included
    exchange_quota: Quota = Quota(60, 60)  # of each PAT
    failure_quota: Quota = Quota(20, 60)  # of each client address: refused ids and secrets
    failure_entries: int = 10_000  # addresses that are remembered, per process
    trusted_proxies: int = 0  # hops whose X-Forwarded-For is believed
    # hashing
    hash_profile: Profile = PROFILES["owasp"]
    pepper: Peppers = field(default=(), repr=False)  # oldest to newest
    hash_slots: int = field(default_factory=lambda: min(1024, _cores()))  # at a time, per process
    hash_queue: int = 32  # callers that may wait for a slot
    proof_ttl: float = 900.0  # how long a hash check is remembered
    proof_entries: int = 10_000  # how many are, per process
    # policy
    tenant: str = "default"  # the organisation that this Authority serves
    access_token_ttl: int = 900  # 15-43200, where the PAT says nothing
    access_token_format: str = "opaque"  # noqa: S105 - or "jwt", which needs an issuer and keys
    audience: tuple[str, ...] | None = None  # of signed access tokens; None: the issuer
    # Private keys: a directory, or files from the oldest to the newest. None: DIR/keys of `local:DIR`.
    keys: tuple[str, ...] | None = None
    max_pats_per_owner: int = 10  # expired ones do not count
    max_lifetime: int | None = None  # of a PAT; None: no limit, and it may never expire
    retention: int = 30 * 86_400  # how long an expired PAT stays listed and keeps its name
    scopes: Mapping[str, str] | None = None  # the catalogue, scope -> plain words; None: any scope
    ignored_scopes: tuple[str, ...] = DEFAULT_IGNORED  # asked for by clients as a matter of protocol
    credential_prefixes: tuple[Prefixes, ...] = (Prefixes(),)  # newest first
    owner_types: tuple[str, ...] | None = None  # of whom PATs can be made; None: any type
    may_act_in: Rule | None = None  # lets callers of other tenants in; code only. None: never
    manages: Rule | None = None  # gives `managed` rights their meaning; code only. None: nobody manages
    # HTTP
    issuer: str | None = None  # the URL of patauth as clients know it; None: no metadata is published
    path_prefix: str = ""  # before patauth's own routes
    page_limit_zitadel: int = 1000  # of a list in the ZITADEL dialect
    surfaces: tuple[str, ...] = ("oauth",)  # patauth's own routes, by group of `SURFACES`
    realm: str = "patauth"  # of the challenges
    keep_authorization: bool = False  # leave HTTP_AUTHORIZATION for the wrapped app

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """Settings from keywords. Raises `ConfigurationError` for unknown names too."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown and unknown[0] in _NOT_YET:
            raise ConfigurationError(f"{unknown[0]}: this version of patauth does not have it yet")
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
            try:
                value = _READERS[item.name](getattr(self, item.name))
            except (ValueError, TypeError, InvalidRequest, ConfigurationError) as problem:
                raise ConfigurationError(f"{item.name}: {problem}") from None
            object.__setattr__(self, item.name, value)
        # With the store key in the store, the secret tags there would check guesses all the same.
        if self.pepper and self.secret_key is None:
            raise ConfigurationError("pepper: it needs secret_key, the store key outside of the store")
        if self.secret_key in [pepper.key for pepper in self.pepper if pepper]:
            raise ConfigurationError("pepper: it is the same key as secret_key; make one of its own")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Settings from `PATAUTH_<NAME>`; keywords win. `PATAUTH_<NAME>_FILE` names a file with a secret."""
        environ = os.environ if environ is None else environ
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith("PATAUTH_") or variable in _NOT_SETTINGS:
                continue
            name = variable.removeprefix("PATAUTH_").lower()
            if name.endswith("_file") and name.removesuffix("_file") in _SECRETS:
                name = name.removesuffix("_file")
                text = _content(variable, text)
            if name in values:
                raise ConfigurationError(f"{variable}: the environment sets {name} twice")
            if name in known or name in _NOT_YET:
                values[name] = text
            else:
                warnings.warn(f"{variable} is not a setting of patauth; is it misspelt?", stacklevel=2)
        return cls.of(**{**values, **given})

    @property
    def signs_tokens(self) -> bool:
        """Whether access tokens are JWTs."""
        return self.access_token_format == "jwt"  # noqa: S105

    @property
    def format(self) -> Format:
        """How credentials are spelt."""
        return Format(self.credential_prefixes)


# Named by the documentation of later versions. To run without them where they were asked for would be less
# safe than not to run.
_NOT_YET = frozenset("audit_stream".split())
_NOT_SETTINGS = {"PATAUTH_ENGINE"}  # the binary of `local:`, read by the engine itself


def _cores() -> int:
    """The processors that this process may use: fewer than there are, in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as problem:
        raise ConfigurationError(f"{variable}: cannot read it: {problem.strerror}") from None
    except ValueError:  # not UTF-8, or NUL in the path
        raise ConfigurationError(f"{variable}: give the path of a file that holds text") from None


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


def _secret_key(value: Any) -> bytes | None:
    return None if value is None else read_key(value)


def _profile(value: Any) -> Profile:
    if isinstance(value, Profile):
        return value  # in code, whoever names a weaker one means it
    offered = sorted(set(PROFILES) - {"testing"})
    if value not in offered:
        raise ValueError(f"give one of {', '.join(offered)}")
    return PROFILES[value]


def _lifetime(value: Any) -> int | None:
    return None if value is None or value == "none" else _seconds(1, 100 * 366 * 86_400)(value)


def _catalogue(value: Any) -> Mapping[str, str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = dict.fromkeys(value.split(), "")
    if not isinstance(value, Mapping) or not all(isinstance(words, str) for words in value.values()):
        raise TypeError("give scopes and what they mean: {'reports:read': 'read reports'}")
    check_scopes(list(value))
    return dict(value)


def _words(value: Any) -> tuple[str, ...]:
    words = tuple(value.split() if isinstance(value, str) else value)
    if not all(isinstance(word, str) for word in words):
        raise TypeError("give texts")
    return words


def _ignored(value: Any) -> tuple[str, ...]:
    words = _words(value)
    if "*" in words:  # whatever was asked for, all of a PAT's scopes would be granted
        raise ValueError("'*' alone would ignore every scope; give a beginning, such as urn:zitadel:*")
    return words


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"give {' or '.join(words)}")
        return value

    return read


def _audience(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "none":
        return None
    names = _words(value)
    once = names and len(set(names)) == len(names)
    if not once or not all(re.fullmatch("[!-~]{1,256}", name) for name in names):
        raise ValueError("give one name or several, each once, such as 'https://api.example.com'")
    return names


def _paths(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "none":
        return None
    values = [value] if isinstance(value, Path) else value.split() if isinstance(value, str) else value
    paths = tuple(map(os.fspath, values))
    usable = (isinstance(path, str) and path and b"\0" not in os.fsencode(path) for path in paths)
    if not paths or not all(usable):
        raise ValueError("give the path of a directory, or of files with blanks between")
    return paths


def _durability(value: Any) -> int | None:
    if value in (None, "engine"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 99:
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"replicas:([1-9][0-9]?)", value)):
        return int(match[1])
    raise ValueError("give 'engine' or 'replicas:N'")


def _prefixes(value: Any) -> tuple[Prefixes, ...]:
    triples = [part.split(",") for part in value.split()] if isinstance(value, str) else list(value)
    if not all(isinstance(triple, tuple | list) and len(triple) == 3 for triple in triples):
        raise ValueError("give triples 'pat,pats,pata', newest first, separated by blanks")
    prefixes = tuple(Prefixes(*triple) for triple in triples)
    Format(prefixes)
    return prefixes


def read_surfaces(value: Any) -> tuple[str, ...]:
    """Names of surfaces. Raises `ValueError`."""
    names = _words(value.replace(",", " ") if isinstance(value, str) else value)
    for name in names:
        if name not in SURFACES:
            raise ValueError(f"there is no surface {name!r}; there is: {', '.join(SURFACES)}")
    return names


_ISSUER = re.compile(
    r"(https?)://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~-]+)*)"
)


def _issuer(value: Any) -> str | None:
    """RFC 8414 §2, and http where it cannot leave the machine; kept as it is, since clients compare texts."""
    if value is None or value == "none":
        return None
    match = _ISSUER.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3] or 0) > 65_535 or {".", ".."} & set(match[4].split("/")):
        raise ValueError("give a URL such as https://auth.example.com, without query, fragment and last '/'")
    if match[2].startswith("["):
        IPv6Address(match[2][1:-1])  # or a ValueError
    if match[1] == "http" and not is_loopback(match[2]):
        raise ValueError("give an https URL; http is for this machine alone (localhost, 127.0.0.1, [::1])")
    return str(value)


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL writes it, is this machine by its spelling; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address == IPv6Address("::1") or address in ip_network("127.0.0.0/8")


def _rule(value: Any) -> Rule | None:
    if value is not None and not callable(value):
        raise ValueError("give a function of the caller and an id; a text cannot be one")
    return value  # type: ignore[no-any-return]


def _owner_types(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    words = _words(value)
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


_READERS: dict[str, Callable[[Any], Any]] = {
    "store_url": _matching(r"[ -~]+", "give a URL"),
    "key_prefix": _matching(r"[A-Za-z0-9_.:-]{1,64}", "give 1 to 64 letters, digits and _ . : -"),
    "secret_key": _secret_key,
    "request_quota": _quota,
    "exchange_quota": _quota,
    "failure_quota": _quota,
    "failure_entries": _whole(1, 10_000_000),
    "access_token_ttl": _seconds(MIN_ACCESS_TOKEN_TTL, MAX_ACCESS_TOKEN_TTL),
    "access_token_format": _one_of("opaque", "jwt"),
    "audience": _audience,
    "keys": _paths,
    "hash_profile": _profile,
    "pepper": read_peppers,
    "hash_slots": _whole(1, 1024),
    "hash_queue": _whole(0, 100_000),
    "proof_ttl": _fraction(0, 86_400),
    "proof_entries": _whole(1, 10_000_000),
    "max_pats_per_owner": _whole(1, 100_000),
    "max_lifetime": _lifetime,
    "retention": _seconds(0, 3660 * 86_400),
    "tenant": lambda value: check_id(value, "the id"),
    "scopes": _catalogue,
    "ignored_scopes": _ignored,
    "manages": _rule,
    "may_act_in": _rule,
    "owner_types": _owner_types,
    "page_limit_zitadel": _whole(1, 10_000),
    "durability": _durability,
    "durability_timeout": _fraction(0.001, 60),
    "trusted_proxies": _whole(0, 100),
    "connect_timeout": _fraction(0.001, 60),
    "command_timeout": _fraction(0.001, 60),
    "max_connections": _whole(1, 100_000),
    "credential_prefixes": _prefixes,
    "issuer": _issuer,
    "path_prefix": _matching(
        r"(?:/[A-Za-z0-9._~-]+)*", "give '' or a path such as /auth, without a last '/'"
    ),
    "surfaces": read_surfaces,
    "realm": _matching(
        r"[ !#-\[\]-~]{1,128}", "give 1 to 128 ASCII characters without quotes and backslashes"
    ),
    "keep_authorization": _truth,
}

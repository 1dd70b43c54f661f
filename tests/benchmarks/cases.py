"""The cases of patauth: the gate with a scope rule before the bare application, and other calls.

All is on but what would keep a benchmark from running: each quota is a million requests in a second, so that
it is charged and never used up, and RateLimit fields go out with each answer. Secrets are hashed with the
profile of production, once; from then on a proof is cached, as for any client that comes back.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware
from patauth.crypto.hashing import Hasher
from patauth.crypto.profiles import PROFILES
from patauth.jwt.key_files import SigningKeys
from patauth.model.address import UNKNOWN
from patauth.model.credentials import mint_secret

from .calls import PATH, SCOPE, App, Calling, answers, bare, environ_of
from .measure import Case

MUCH = "1000000/1"
BARE = "bare WSGI app"
TOKEN = "access token"
BASIC = "Basic, proof cached"
PAT = "PAT token, proof cached"
JWT = "access token, JWT"
EXCHANGE = "Authority.exchange"
EXCHANGE_HTTP = "POST /oauth/token"
ARGON2 = "argon2 once (owasp)"
LONG = "access token, nothing remembered"
METERED = "access token, with metrics"
TRACED = "access token, with traces"
BEARER = (TOKEN, PAT, JWT)
ONE_TRIP = (TOKEN, BASIC, PAT, JWT)

REQUIRE = {f"GET {PATH}": SCOPE}
_FORM = b"grant_type=client_credentials"


def basic(pat_id: str, secret: str) -> str:
    """The Authorization value of a PAT id and secret."""
    return "Basic " + b64encode(f"{pat_id}:{secret}".encode()).decode()


def authority_at(url: str, **settings: Any) -> Authority:
    """Return an Authority whose quotas are never used up, and whose access tokens outlast any run."""
    lasting: dict[str, Any] = {
        "request_quota": MUCH,
        "exchange_quota": MUCH,
        "failure_quota": MUCH,
        "access_token_ttl": 43_200,  # s
        "max_tokens_per_secret": 1_000_000,
        # Patient on a busy machine; but at 0.5, the deadline of a request, each would set its socket again.
        "connect_timeout": 0.4,
        "command_timeout": 0.4,
    }
    return Authority.from_url(url, **{**lasting, **settings})


def issue(authority: Authority, name: str = "bench", **given: Any) -> IssuedPat:
    """A PAT with the scope that the application asks for."""
    return authority.create(
        owner=Owner("alice", name="Alice"), name=name, scope=[SCOPE], never_expires=True, **given
    )


@dataclass(frozen=True, slots=True)
class Way:
    """Holds credentials and the Authority that knows them."""

    authority: Authority
    authorization: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the Authority, beyond its store

    def gate(self) -> App:
        """A gate before the bare application."""
        return PatAuthMiddleware(bare, self.authority, require=REQUIRE)


class PatauthCases:
    """Authorities on one server, each with something else on, and the requests that are timed."""

    def __init__(self, url: str, folder: Path) -> None:
        SigningKeys(folder / "keys").rotate()
        signing = {
            "key_prefix": "signing",
            "access_token_format": "jwt",
            "issuer": "https://pats.example",
            "keys": str(folder / "keys"),
        }
        self._authority = authority = authority_at(url)
        self._signing = authority_at(url, **signing)
        self._metered = authority_at(url, metrics=True)
        record_spans()
        self._traced = authority_at(url, traces=True)
        self._issued = issued = issue(authority)
        self._limited = issue(authority, "limited", request_quota="1/86400")
        self.ways = {
            TOKEN: Way(authority, access_of(authority, issued)),
            BASIC: Way(authority, basic(issued.pat.id, issued.secret)),
            PAT: Way(authority, f"Bearer {issued.token}"),
            JWT: Way(self._signing, access_of(self._signing, issue(self._signing)), signing),
            METERED: Way(self._metered, access_of(authority, issued)),
            TRACED: Way(self._traced, access_of(authority, issued)),
        }
        self._app = self.ways[TOKEN].gate()
        unknown, _ = authority.operations.format.mint_access_token(issued.pat.id)
        wrong = authority.operations.format.token_text(issued.pat.id, mint_secret())
        self._refusals = {
            "refused: malformed token": ("Bearer pata_malformed", 401),
            "refused: unknown access token": (f"Bearer {unknown}", 401),
            "refused: wrong secret": (f"Bearer {wrong}", 401),
            "refused: over the quota": (f"Bearer {self._limited.token}", 429),
        }

    def requests(self) -> list[Case]:
        """Return the cases that are timed on each server."""
        pat_id, secret = self._issued.pat.id, self._issued.secret
        token = self.ways[TOKEN].authorization
        exchange = environ_of(basic(pat_id, secret), method="POST", path="/oauth/token", body=_FORM)
        return [
            *(
                Case(name, Calling(way.gate(), [environ_of(way.authorization)], 200))
                for name, way in self.ways.items()
            ),
            Case("authority.authenticate", lambda: self._authority.authenticate(token)),
            Case(EXCHANGE, lambda: self._authority.exchange(pat_id, secret)),
            Case(EXCHANGE_HTTP, Calling(self._app, [exchange], 200)),
        ]

    def more(self) -> list[Case]:
        """Return the other cases that ask a server."""
        operations = self._authority.operations
        token = operations.format.parse(self.ways[TOKEN].authorization)
        return [
            Case(LONG, lambda: operations.admit(token, UNKNOWN)),
            *(
                Case(name, Calling(self._app, [environ_of(value)], status), share=0.5)
                for name, (value, status) in self._refusals.items()
            ),
        ]

    def without_store(self) -> list[Case]:
        """Return the cases that ask no server."""
        hasher = Hasher(PROFILES["owasp"], slots=1, queue=0, wait=0)
        secret = mint_secret()
        digest = hasher.hash(secret, "owner")
        return [
            Case(BARE, Calling(bare, [environ_of()], 200)),
            Case(ARGON2, lambda: hasher.verify(secret, digest, "owner"), share=0.005),
        ]

    def check(self) -> None:
        """Check that each case gets the right answer and the quota limits. Raise `WrongAnswer`."""
        for way in self.ways.values():
            answers(way.gate(), way.authorization, 200)
        answers(self._app, None, 401)
        answers(self._app, f"Bearer {self._limited.token}", 200)
        for value, status in self._refusals.values():
            answers(self._app, value, status)

    def close(self) -> None:
        """Close all of them."""
        for authority in (self._authority, self._signing, self._metered, self._traced):
            authority.close()


@cache
def record_spans() -> None:
    """Set a provider that makes spans of the setting `traces`, and exports none of them."""
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))


def access_of(authority: Authority, issued: IssuedPat) -> str:
    return f"Bearer {authority.exchange(issued.pat.id, issued.secret).value}"

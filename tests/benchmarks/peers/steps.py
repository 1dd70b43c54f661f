"""Single steps that others take, and not the whole job: a signature verified, or a hit of a quota counted.

PyJWT verifies RS256 with a key of 2048 bits that is loaded already, and compares issuer, audience and
expiry. `limits` and throttled-py count in a fixed window, the cheapest strategy of both: by a script, and by
INCRBY. Both work with redis-py 8; only their extras `redis` ask for less.
"""

from __future__ import annotations

import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from throttled import RateLimiterType, Throttled
from throttled.store import RedisStore

from ..calls import SCOPE
from ..measure import Case
from . import MUCH

RS256 = "PyJWT, RS256 verified"
LIMITS = "limits, one hit"
THROTTLED = "throttled-py, one hit"

_ISSUER, _AUDIENCE = "https://pats.example", "reports"


def signature() -> Case:
    """Return the verification of a token by PyJWT."""
    key = rsa.generate_private_key(65_537, 2048)
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "alice", "scope": SCOPE, "exp": time.time() + 43_200}
    token, public = jwt.encode(claims, key, "RS256"), key.public_key()
    verify = jwt.PyJWT().decode
    return Case(RS256, lambda: verify(token, public, ["RS256"], audience=_AUDIENCE, issuer=_ISSUER))


def hits(url: str) -> list[Case]:
    """Return one hit of each limiter on the server at `url`, a `unix://` or a `redis://` one."""
    quota = parse(MUCH)
    storage = RedisStorage(url.replace("unix:", "redis+unix:", 1))
    limiter = FixedWindowRateLimiter(storage)
    throttled = Throttled(
        key="bench", using=RateLimiterType.FIXED_WINDOW.value, quota="1000000/s", store=RedisStore(url)
    )
    return [Case(LIMITS, lambda: limiter.hit(quota, "bench")), Case(THROTTLED, lambda: throttled.limit())]

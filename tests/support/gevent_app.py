"""What gunicorn preloads: an application whose Authority was used before the workers are forked."""

import os

from patauth import Authority, PatAuthMiddleware
from patauth.crypto.profiles import PROFILES
from tests.support.callers import SETTINGS, echo

authority = Authority.from_env(hash_profile=PROFILES["testing"], **SETTINGS)
authority.authenticate(os.environ["FIRST_CALLER"])
app = PatAuthMiddleware(echo, authority, surfaces=["oauth", "isc"], public=["/healthz"])

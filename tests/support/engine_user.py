"""A user of an engine in a process of its own: `python engine_user.py DIR`.

Prints "ready ADDRESS" once the engine answers, or the name and detail of the error; then ends when its
standard input does, without giving the lock back by hand.
"""

import sys

from patauth.errors import PatAuthError
from patauth.store.local.engine import LocalEngine

engine = LocalEngine(sys.argv[1])
try:
    print("ready", engine.acquire(), flush=True)
except PatAuthError as error:
    print(type(error).__name__, error.detail or error, flush=True)
    sys.exit(1)
sys.stdin.read()

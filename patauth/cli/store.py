"""`patauth store`: the place where the tokens are."""

from __future__ import annotations

import time

import click

from .options import Group, open_authority, options
from .output import print_facts, print_json


@click.group(cls=Group)
def store() -> None:
    """Look after the token store.

    \b
    Example:
      patauth store ping --store redis://127.0.0.1:6379/0
    """


@store.command()
def ping() -> None:
    """Reach the store, check that it is ours to use, and say how long one round trip takes.

    A local: store is started. Exit code 5 means that it cannot be reached, or that its key is another.

    \b
    Example:
      patauth store ping --store local:./patauth-data
    """
    with open_authority() as authority:
        authority.ping()  # starts a local: engine and connects; not what is measured
        began = time.perf_counter()
        authority.ping()
        milliseconds = round(1000 * (time.perf_counter() - began), 2)
    if options().json:
        print_json({"reachable": True, "milliseconds": milliseconds})
    else:
        print_facts([("reachable", "yes"), ("milliseconds", f"{milliseconds:.2f}")])

"""`patauth demo`: an engine, a protected app, and the whole story over real HTTP. Nothing of it stays."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ..options import MEMORY, Command, Failure, options, warnings_as_messages
from ..output import message, print_json, printable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ...authority import Authority
    from .story import Story

HOST = "127.0.0.1"
KEY_PREFIX = "patauth-demo"  # in a store that is named: apart from all that is real there
_PORT = 8000


@click.command(cls=Command, short_help="Show all of it, step by step, over real HTTP.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where the app listens.  [default: 8000]")
@click.option("--once", is_flag=True, help="End after the story, on a free port unless --port names one.")
def demo(port: int | None, once: bool) -> None:
    """Show all of it: a protected app, a first PAT, the whole story step by step.

    An engine is started in a temporary directory, a small app on 127.0.0.1 is put behind patauth, and a PAT
    is made, used, exchanged, refused, limited and revoked, with the curl line for each request. Then the app
    goes on with a fresh PAT until Ctrl-C. Nothing of it stays. Exit code 1: a step did not happen as told.

    With --store it all happens in that store, under the key prefix patauth-demo. PATAUTH_STORE_URL and other
    settings in the environment are not used: the demo stays away from your real store.

    \b
    Examples:
      patauth demo
      patauth demo --once
    """
    with ExitStack() as stack:
        stack.enter_context(_signals())
        listener = stack.enter_context(_listen(port or (0 if once else _PORT)))
        store_url = _given() or _temporary_store(stack)
        authority, made = _authority(stack, store_url)
        url = _serve(stack, listener, authority)
        stack.callback(_end_undisturbed)

        from .story import Story, Untrue

        command = _command(store_url)
        story = Story(authority, url, command=command, tell=_tell, made=made)
        _tell(f"A small app at {url}, protected by patauth; its store is {_named(store_url)}.")
        try:
            story.run()
        except Untrue as problem:
            raise Failure(printable(str(problem))) from problem
        if options().json:
            print_json({"url": url, "steps": story.steps})
        if once:
            _tell("\nThe whole story happened as told.")
        else:
            _go_on(story, url, command)


def _go_on(story: Story, url: str, command: Callable[..., str]) -> None:
    """Keep serving with a fresh PAT until Ctrl-C."""
    from .story import Request

    _tell("\n" + click.style("The story happened as told. The app goes on, with a fresh PAT:", bold=True))
    issued = story.issue("yours", expires="1d")
    basic = (issued.pat.id, issued.secret)
    lines = [
        Request(url + "/reports", basic=basic).curl(),
        Request(url + "/reports", bearer=issued.token).curl(),
        Request(url + "/oauth/token", basic=basic, form={"grant_type": "client_credentials"}).curl(),
        Request(url + "/reports", "POST", basic=basic).curl(),
        command("pat", "list", "--owner-id", issued.pat.owner.id),
        command("pat", "revoke", issued.pat.id),
    ]
    _tell("   To try, in another terminal:")
    for line in lines:
        _tell(click.style(f"   $ {line}", fg="cyan"))
    _tell("   Ctrl-C ends it and removes everything.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        _tell("\nEnding.")


def _given() -> str | None:
    """The store that --store names, and never the environment."""
    return options().store or None


def _tell(line: str) -> None:
    """The story is what is printed; where that is JSON, the story is a message."""
    if not options().json:
        click.echo(line)
    elif not options().quiet:
        click.echo(line, err=True)


# -- the parts, each with its end -----------------------------------------------------------------------


@contextmanager
def _signals() -> Iterator[None]:
    """End in good order on SIGTERM and SIGHUP, too: by an exception, as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # under nohup, SIGHUP stays ignored
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_undisturbed() -> None:
    """A second Ctrl-C must not keep an engine alive that the first one is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=128)
    except OSError as problem:
        raise Failure(
            f"cannot listen on {HOST}:{port} ({problem.strerror}); give another port by --port"
        ) from problem


def _temporary_store(stack: ExitStack) -> str:
    """The URL of a store that goes with `stack`: an engine in a temporary directory, or else memory:."""
    from ...errors import ConfigurationError, StoreUnavailable
    from ...store.local.binary import find_engine
    from ...store.local.engine import LocalEngine

    directory = tempfile.mkdtemp(prefix="patauth-demo-")
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    try:
        find_engine(Path(directory))
    except ConfigurationError as problem:
        message(f"Note: {problem}. The demo goes on with memory:, an imitation within this process.")
        return MEMORY[0]

    def stop() -> None:
        try:
            LocalEngine(directory).stop()
        except StoreUnavailable as problem:
            message(f"Warning: {problem.detail}")

    stack.callback(stop)
    return "local:" + quote(directory)


def _authority(stack: ExitStack, store_url: str) -> tuple[Authority, list[str]]:
    """An Authority, and the list of PATs to be removed with `stack`."""
    from ...authority import Authority
    from ...errors import ConfigurationError, PatAuthError

    ours = _given() is None
    # In a store that is named, nothing may be in the way of the next demo, however this one ends.
    apart: dict[str, Any] = {"key_prefix": KEY_PREFIX, "retention": 0, "max_pats_per_owner": 1000}
    settings = {} if ours else apart
    try:
        with warnings_as_messages():
            authority = Authority.from_url(store_url, **settings)
    except ConfigurationError as problem:
        if ours:
            raise ConfigurationError(f"{problem}, or better: pip install 'patauth[demo]'") from problem
        raise
    stack.enter_context(authority)
    made: list[str] = []

    def remove() -> None:
        for pat_id in made:
            try:
                authority.delete(pat_id)
            except PatAuthError:  # revoked by now, or the store is gone; it expires by itself
                pass

    if not ours:
        stack.callback(remove)
    authority.ping()
    return authority, made


def _serve(stack: ExitStack, listener: socket.socket, authority: Authority) -> str:
    """Serve the app on `listener` in threads until `stack` ends; its URL."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    from ...wsgi.middleware import PatAuthMiddleware
    from .story import READ, WRITE

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
            """Nothing between the lines of the story."""

    port = listener.getsockname()[1]
    app = PatAuthMiddleware(_app, authority, require={"GET /reports": READ, "POST /reports": WRITE})
    server = make_server(HOST, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    return f"http://{HOST}:{port}"


def _app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The application that is protected: it tells callers what patauth told it of them."""
    principal = environ["patauth.principal"]
    answer = {
        "caller": principal.subject.name,
        "method": principal.method,
        "scopes": sorted(principal.scopes),
    }
    body = json.dumps(answer).encode() + b"\n"
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _command(store_url: str) -> Callable[..., str]:
    """Makes the patauth line that does the same from another terminal."""
    program = click.get_current_context().find_root().info_name or "patauth"

    def line(*words: str) -> str:
        if _given() is None:
            return f"{program} {shlex.join([*words, '--store', store_url])}"
        # The URL was given, and may hold a password: it is not printed.
        return f"PATAUTH_KEY_PREFIX={KEY_PREFIX} {program} {shlex.join(words)} --store …"

    return line


def _named(store_url: str) -> str:
    return store_url if _given() is None else f"the one given, under the key prefix {KEY_PREFIX}"

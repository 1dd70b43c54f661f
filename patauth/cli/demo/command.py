"""`patauth demo`: an engine, a protected app and a story over real HTTP, which leave nothing behind."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ...authority import Authority
from ...errors import ConfigurationError, PatAuthError, StoreUnavailable
from ...model.pat import Owner
from ...settings import Settings
from ...wsgi.middleware import PatAuthMiddleware
from ...wsgi.page import PATH
from ..context import Failure, message, options, printable, warnings_as_messages
from ..options import Command
from ..output import print_json
from .page import SCOPES, PageStory, identify_as
from .request import Request
from .story import OWNER, READ, WRITE, Story
from .telling import Untrue

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HOST = "127.0.0.1"
KEY_PREFIX = "patauth-demo"  # in a store that --store names, it keeps the demo apart from real PATs
_PORT = 8000
_PATIENCE = 5.0  # s for an answer of the store: its disk may be busy with what pip has just written


@click.command(cls=Command, short_help="See patauth at work, step by step, over real HTTP.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port of the app.  [default: 8000]")
@click.option("--once", is_flag=True, help="End after the story. Without --port, take any free port.")
@click.option("--page", is_flag=True, help="Show the page for people instead, in your browser.")
def demo(port: int | None, once: bool, page: bool) -> None:
    """See patauth at work, step by step: a protected app, a first PAT, and what happens to both.

    The demo starts an engine in a temporary directory and a small app on 127.0.0.1 that patauth protects. It
    creates a PAT, uses it, exchanges it, sees it refused, limited and revoked, and shows the curl line for
    each request. Then the app goes on with a new PAT until you press Ctrl-C. Nothing is left behind. Exit
    code 1 means that a step went otherwise than it says.

    With --page, the app has the page for people, and on this machine you are signed in there as Alice. On a
    desktop it opens in your browser. With --once too, the demo itself sends what a browser would.

    With --store, the demo uses that store, under the key prefix patauth-demo. It ignores PATAUTH_STORE_URL
    and the other settings in the environment, to keep away from your real store.

    \b
    Examples:
      patauth demo
      patauth demo --once
      patauth demo --page
    """
    with ExitStack() as stack:
        stack.enter_context(_signals())
        listener = stack.enter_context(_listen(port or (0 if once else _PORT)))
        store_url = _given() or _temporary_store(stack)
        authority, made = _authority(stack, store_url)
        command = _command(store_url)
        story: Story | PageStory
        if page:
            owner = Owner(f"{OWNER.id}-{token_hex(4)}", name=OWNER.name)  # of this demo alone
            stack.callback(_forget, authority, owner)
            url = _serve(stack, listener, authority, surfaces=["oauth", "page"], identify=identify_as(owner))
            story = PageStory(url, _tell)
        else:
            url = _serve(stack, listener, authority)
            story = Story(authority, url, command=command, tell=_tell, made=made)
        stack.callback(_ignore_signals)

        _tell(f"A small app at {url}, protected by patauth; its store is {_named(store_url)}.")
        try:
            if once or isinstance(story, Story):
                story.run()
        except Untrue as problem:
            raise Failure(printable(str(problem))) from problem
        if options().json:
            print_json({"url": url, "steps": story.steps})
        if once:
            _tell("\nAll steps worked.")
        elif isinstance(story, Story):
            _go_on(story, url, command)
        else:
            _show_page(url)


def _go_on(story: Story, url: str, command: Callable[..., str]) -> None:
    """Serve with a new PAT until Ctrl-C."""
    _tell("\n" + click.style("All steps worked. The app goes on, with a new PAT:", bold=True))
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
    _tell("   Try these in another terminal:")
    for line in lines:
        _tell(click.style(f"   $ {line}", fg="cyan"))
    _wait()


def _show_page(url: str) -> None:
    """Say where the page is, open it where that can be done, and serve until Ctrl-C."""
    from .browser import open_browser, over_ssh

    _tell("\n" + click.style(f"The page for people: {url}{PATH}", bold=True))
    if over_ssh():
        port = url.rpartition(":")[2]
        _tell(f"   To open it at your own machine, start this there: ssh -L {port}:{HOST}:{port} …")
    _tell("   Everybody who opens it here is signed in as Alice. A token that you make opens the app:")
    line = Request(url + "/reports", bearer="…").curl()
    _tell(click.style(f"   $ {line}", fg="cyan"))
    open_browser(url + PATH)
    _wait()


def _wait() -> None:
    _tell("   Ctrl-C ends the demo and removes everything.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        _tell("\nEnding.")


def _given() -> str | None:
    """Return the store that --store names; the environment is not asked."""
    return options().store or None


def _tell(line: str) -> None:
    """Print a line of the story: to stdout, or as a message if stdout has JSON."""
    if not options().json:
        click.echo(line)
    elif not options().quiet:
        click.echo(line, err=True)


# -- the parts of the demo, each with its end ---------------------------------------------------------------


@contextmanager
def _signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, as Ctrl-C is one, so that everything is removed."""

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


def _ignore_signals() -> None:
    """Ignore further signals, so that a second Ctrl-C does not interrupt the removal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=128)
    except OSError as problem:
        raise Failure(
            f"cannot listen on {HOST}:{port} ({problem.strerror}); choose another port with --port"
        ) from problem


def _temporary_store(stack: ExitStack) -> str:
    """Return the URL of a store that ends with `stack`: an engine in a temporary directory, or memory:."""
    from ...store.local.binary import find_engine
    from ...store.local.engine import LocalEngine

    directory = tempfile.mkdtemp(prefix="patauth-demo-")
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    try:
        find_engine(Path(directory))
    except ConfigurationError as problem:
        message(f"Note: {problem}. The demo uses memory: instead, an imitation within this process.")
        return "memory:"

    def stop() -> None:
        try:
            LocalEngine(directory).stop()
        except StoreUnavailable as problem:
            message(f"Warning: {problem.detail}")

    stack.callback(stop)
    return "local:" + quote(directory)


def _authority(stack: ExitStack, store_url: str) -> tuple[Authority, list[str]]:
    """Return an Authority, and a list: PATs whose ids are put on it are removed with `stack`."""
    temporary = _given() is None
    # In a store that --store names, PATs of one demo must not hinder the next, however the first one ends.
    apart: dict[str, Any] = {"key_prefix": KEY_PREFIX, "retention": 0, "max_pats_per_owner": 1000}
    try:
        with warnings_as_messages():
            settings = Settings.of(
                store_url=store_url,
                scopes=SCOPES,
                page_example_url="/reports",
                connect_timeout=_PATIENCE,
                command_timeout=_PATIENCE,
                **({} if temporary else apart),
            )
            authority = Authority(settings, _request_seconds=_PATIENCE)
    except ConfigurationError as problem:
        if temporary:
            raise ConfigurationError(f"{problem}, or better: pip install 'patauth[demo]'") from problem
        raise
    stack.enter_context(authority)
    made: list[str] = []

    def remove() -> None:
        for pat_id in made:
            try:
                authority.delete(pat_id)
            except PatAuthError:  # it is revoked, or the store is gone and the PAT will expire
                pass

    if not temporary:
        stack.callback(remove)
    authority.ping()
    return authority, made


def _forget(authority: Authority, owner: Owner) -> None:
    """Remove what a person has made on the page, before the store ends or is left."""
    with suppress(PatAuthError):  # the store is gone
        authority.revoke_owner(owner.id)


def _serve(stack: ExitStack, listener: socket.socket, authority: Authority, **more: Any) -> str:
    """Serve the app on `listener`, in threads, until `stack` ends. Return its URL.

    `more`: further arguments of the middleware.
    """
    from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        timeout = 1.0  # s; an idle connection holds up the end no longer

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
            """Print nothing between the lines of the story."""

    port = listener.getsockname()[1]
    app = PatAuthMiddleware(_app, authority, require={"GET /reports": READ, "POST /reports": WRITE}, **more)
    server = ThreadedWSGIServer(HOST, port, app, Quiet, fd=listener.fileno())
    server.daemon_threads = False  # so that `server_close` waits for requests that still need the store
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    return f"http://{HOST}:{port}"


def _app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what patauth says about the caller. This is the app that is protected."""
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
    """Return a function that makes a `patauth` line, for another terminal, from words."""
    program = click.get_current_context().find_root().info_name or "patauth"

    def line(*words: str) -> str:
        if _given() is None:
            return f"{program} {shlex.join([*words, '--store', store_url])}"
        # The URL that was given may hold a password, so it is not printed.
        return f"PATAUTH_KEY_PREFIX={KEY_PREFIX} {program} {shlex.join(words)} --store …"

    return line


def _named(store_url: str) -> str:
    return store_url if _given() is None else f"the one given, under the key prefix {KEY_PREFIX}"

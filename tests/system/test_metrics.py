"""The sums of /metrics are what clients counted, whatever became of workers and store; what promtool says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import requests
from click.testing import CliRunner
from prometheus_client import generate_latest

from patauth import Authority
from patauth.cli import program
from tests.support.authorities import basic, basic_of, bearer, issue, patient, wrong_secret
from tests.support.documents import blocks
from tests.support.grpc_port import HEALTH, Client
from tests.support.load import Ask, Load
from tests.support.metrics import Samples, authentications, read
from tests.support.paths import EXAMPLES, ROOT
from tests.support.processes import environment, free_port
from tests.support.rpc import V1
from tests.support.servers import Server, binaries, until
from tests.support.service import serving
from tests.support.zitadel import MY

SECONDS = 6.0  # of load
Kinds = dict[str, tuple[str, str]]  # by the name of a request: the method, and the reason where it is 401
Workers = Callable[[], set[int]]  # returns the processes that answer
SETTINGS = {
    "PATAUTH_REQUEST_QUOTA": "1000000/1",
    "PATAUTH_EXCHANGE_QUOTA": "1000000/1",
    "PATAUTH_FAILURE_QUOTA": "1000000/1",
    "PATAUTH_MAX_TOKENS_PER_SECRET": "1000000",  # a fast machine exchanges a thousand times
}
OUTCOMES = {"": 200, "rate_limited": 429, "store_unavailable": 503, "overloaded": 503}  # statuses; 401 else


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "engine"
    folder.mkdir()
    server = Server(binaries()["valkey"], folder)
    yield server
    server.stop()


def asks_of(engine: Server, path: str, *, exchanges: bool) -> tuple[dict[str, Ask], Kinds]:
    """Requests with all kinds of credentials, and of each its method, and its reason where it is 401."""
    with patient(engine.url, max_pats_per_owner=100) as authority:
        good, limited = issue(authority), issue(authority, "limited", request_quota="3/86400")
        expired = issue(authority, "expired", expires_in=timedelta(seconds=1))
        access = authority.exchange(good.pat.id, good.secret).value
        wrong = basic(good.pat.id, wrong_secret(authority))
    asks = {
        "secret": Ask("GET", path, basic_of(good)),
        "token": Ask("GET", path, bearer(good.token)),
        "access": Ask("GET", path, bearer(access)),
        "wrong": Ask("GET", path, wrong),
        "malformed": Ask("GET", path, "Bearer nonsense"),
        "expired": Ask("GET", path, basic_of(expired)),
        "limited": Ask("GET", path, bearer(limited.token)),
    }
    kinds = {
        "secret": ("basic", ""), "token": ("pat", ""), "access": ("access_token", ""),
        "wrong": ("basic", "invalid"), "malformed": ("unknown", "malformed"),
        "expired": ("basic", "expired"), "limited": ("pat", ""), "exchange": ("basic", ""),
    }  # fmt: skip
    if exchanges:
        asks["exchange"] = Ask("POST", "/oauth/token", basic_of(good), "grant_type=client_credentials")
    time.sleep(1.1)  # the one that expires
    return asks, kinds


def disturb(load: Load, engine: Server, workers: Workers) -> None:
    """Kill workers and the store while the load goes on, and wait until others are in their place."""
    began = time.monotonic()
    time.sleep(SECONDS / 4)
    first, second = sorted(workers())
    os.kill(first, signal.SIGTERM)
    until(lambda: len(workers()) == 2 and first not in workers(), 30)
    time.sleep(SECONDS / 8)
    with load.paused():
        os.kill(second, signal.SIGKILL)
        until(lambda: len(workers()) == 2 and second not in workers(), 30)
    time.sleep(SECONDS / 8)
    engine.kill()
    time.sleep(SECONDS / 8)
    engine.start()
    time.sleep(max(0.0, SECONDS - (time.monotonic() - began)))


def assert_sums_are_those(samples: Samples, load: Load, kinds: Kinds) -> dict[tuple[str, int], int]:
    """The sums of authentications by method and status are those of the clients; return them."""
    told: Counter[tuple[str, int | str]] = Counter()
    for (method, reason), count in authentications(samples).items():
        told[method, OUTCOMES.get(reason, reason)] += count
    counted: Counter[tuple[str, int | str]] = Counter()
    for (name, status), count in load.counts.items():
        method, reason = kinds[name]
        counted[method, reason if status == 401 else status] += count
    assert load.broken <= 10  # a connection that a worker had taken at its end
    differences = {one: told[one] - counted[one] for one in {*told, *counted} if told[one] != counted[one]}
    assert all(difference > 0 for difference in differences.values()), differences
    assert sum(differences.values()) <= load.broken, differences
    assert samples["patauth_authentication_duration_seconds_count"] == sum(told.values())
    limited = sum(count for (_, what), count in told.items() if what == 429)
    assert samples['patauth_rate_limited_total{quota="requests"}'] == limited
    return {(method, what): count for (method, what), count in told.items() if isinstance(what, int)}


def assert_all_kinds_were_met(told: dict[tuple[str, int], int]) -> None:
    assert {200, 429, 503} <= {status for _, status in told}
    assert min(told["basic", 200], told["pat", 200], told["access_token", 200]) > 50
    assert sum(count for (_, status), count in told.items() if status == 503) > 5


def test_the_sums_of_the_service_are_what_its_clients_counted(engine: Server, tmp_path: Path) -> None:
    """Over two workers and more that took their places, with the store away for a while, and a reload."""
    asks, kinds = asks_of(engine, "/verify", exchanges=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    words = ("--metrics-bind", f"127.0.0.1:{port}", "--store", engine.url, "--quiet")
    with serving(tmp_path, *words, **SETTINGS, TMPDIR=str(tmp_path)) as service:

        def metrics() -> Samples:
            return read(requests.get(url, timeout=10).text)

        def workers() -> set[int]:
            return {pid for pid in service.workers() if "--only" not in command(pid)}

        (folder,) = tmp_path.glob("patauth-metrics-*")
        load = Load(service.port, asks)
        with load.from_threads(6):
            disturb(load, engine, workers)
        told = assert_sums_are_those(metrics(), load, kinds)
        assert_all_kinds_were_met(told)
        exchanged = load.counts["exchange", 200]
        assert exchanged > 50
        issued = metrics()['patauth_tokens_issued_total{format="opaque"}']
        assert exchanged <= issued <= exchanged + load.broken

        before, old = metrics(), workers()
        os.kill(service.process.pid, signal.SIGHUP)
        until(lambda: len(workers()) == 2 and not old & workers(), 30)
        assert service.status("/healthz") == 200
        until(lambda: is_open(url), 30)
        after = metrics()
        assert authentications(after) == authentications(before)
        # Only those of processes that live: two workers and the one that shows the metrics.
        open_now = sum(after[f'patauth_store_connections{{state="{state}"}}'] for state in ("idle", "in_use"))
        with engine.client() as client:
            assert open_now == len(client.client_list()) - 1
        assert requests.get(f"{service.url}/metrics", timeout=10).status_code == 404
        assert service.stop() == 0
        assert not folder.exists()
        assert "Traceback" not in service.said()


def command(pid: int) -> str:
    """The command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def is_open(url: str) -> bool:
    return status(url) == 200


def status(url: str) -> int:
    try:
        return requests.get(url, timeout=10).status_code
    except requests.ConnectionError:
        return 0


@contextmanager
def own_gunicorn(folder: Path, engine: Server) -> Iterator[tuple[int, str, Workers]]:
    """The two servers of docs/metrics.md; the app's port, the URL of the metrics, and the app's workers."""
    for text in blocks("docs/metrics.md", "python"):
        (folder / text.split()[1].rstrip(",")).write_text(text)
    (folder / "shared").mkdir(mode=0o700)
    port, metrics_port = free_port(), free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind"]
    more = {"PROMETHEUS_MULTIPROC_DIR": str(folder / "shared"), "PATAUTH_METRICS": "true", **SETTINGS}
    environ = environment(PATAUTH_STORE_URL=engine.url, **more)
    with (folder / "log").open("wb") as log:
        shows, process = (
            subprocess.Popen([*command, *words], cwd=folder, env=environ, stderr=log, stdout=log)
            for words in (
                (f"127.0.0.1:{metrics_port}", "--workers", "1", "metrics:application"),
                (f"127.0.0.1:{port}", "--workers", "2", "--threads", "4", "app:application"),
            )
        )
    url = f"http://127.0.0.1:{metrics_port}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until(lambda: is_open(url) and len(children.read_text().split()) == 2, 30)
        until(lambda: status(f"http://127.0.0.1:{port}/") == 401, 30)
        yield port, url, lambda: set(map(int, children.read_text().split()))
        for one in (process, shows):
            one.send_signal(signal.SIGTERM)
            assert one.wait(30) == 0
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        for one in (process, shows):
            one.kill()
            one.wait()


def test_the_sums_of_an_app_under_its_own_gunicorn_are_what_its_clients_counted(
    engine: Server, tmp_path: Path
) -> None:
    asks, kinds = asks_of(engine, "/", exchanges=False)
    with own_gunicorn(tmp_path, engine) as (port, url, workers):
        load = Load(port, asks)
        with load.from_threads(6):
            disturb(load, engine, workers)
        text = requests.get(url, timeout=10).text
        assert_all_kinds_were_met(assert_sums_are_those(read(text), load, kinds))


@pytest.mark.parametrize(
    ("block", "settings"),
    [("flask_app.py", {}), ("wsgi.py", {"DJANGO_SETTINGS_MODULE": "project.settings"})],
)
def test_an_app_of_flask_and_of_django_shows_them_outside_of_its_gate(
    block: str, settings: dict[str, str], tmp_path: Path
) -> None:
    (text,) = (text for text in blocks("docs/metrics.md", "python") if text.startswith(f"# {block}\n"))
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES / "django_project", site)
    (site / "mounted.py").write_text(
        f"{text}\nfrom werkzeug.test import Client\n"
        "client = Client(globals().get('app') or application)\n"
        "print([client.get(path).status_code for path in ('/internal/metrics', '/reports')])\n"
        "print('patauth_build_info{' in client.get('/internal/metrics').text)\n"
    )
    more = {"PATAUTH_METRICS": "true", "PYTHONPATH": f"{site}:{ROOT}", **settings}
    done = subprocess.run(
        [sys.executable, "mounted.py"], cwd=site, env=environment(**more), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["[200, 401]", "True"], done.stderr


def test_calls_over_grpc_are_counted_with_the_others(engine: Server, tmp_path: Path) -> None:
    with patient(engine.url) as authority:
        token = bearer(issue(authority, scope=[MY]).token)
    grpc_port, port = free_port(), free_port()
    binds = ("--grpc-bind", f"127.0.0.1:{grpc_port}", "--metrics-bind", f"127.0.0.1:{port}")
    with serving(tmp_path, *binds, "--store", engine.url, **SETTINGS) as service:
        client = Client(grpc.insecure_channel(f"127.0.0.1:{grpc_port}"))
        until(lambda: client(HEALTH, {}, None).content.get("status") == "SERVING", 30)
        for _ in range(2):
            assert client(V1 + "ListPersonalAccessTokens", {"userId": "alice"}, token).code == 0
        client.channel.close()
        for _ in range(3):
            fields = {"Authorization": token}
            assert requests.get(f"{service.url}/verify", headers=fields, timeout=10).status_code == 200
        url = f"http://127.0.0.1:{port}/metrics"
        until(lambda: is_open(url), 30)
        assert authentications(read(requests.get(url, timeout=10).text)) == {("pat", ""): 5}


def test_a_hook_that_imports_prometheus_client_first_and_a_folder_that_vanishes_lose_no_request(
    engine: Server, tmp_path: Path
) -> None:
    (tmp_path / "hooks.py").write_text(
        "import prometheus_client\n\n\ndef identify(environ):\n    return None\n"
    )
    with patient(engine.url) as authority:
        fields = {"Authorization": bearer(issue(authority).token)}
    port = free_port()
    words = ("--metrics-bind", f"0.0.0.0:{port}", "--store", engine.url, "--workers", "1")
    more = {"PATAUTH_IDENTIFY": "hooks:identify", "PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(tmp_path)}
    with serving(tmp_path, *words, **more) as service:
        for _ in range(3):
            assert requests.get(f"{service.url}/verify", headers=fields, timeout=10).status_code == 200
        url = f"http://127.0.0.1:{port}/metrics"
        until(lambda: is_open(url), 30)
        assert authentications(read(requests.get(url, timeout=10).text)) == {("pat", ""): 3}
        assert f"who reaches 0.0.0.0:{port} can read the metrics" in service.said()

        (folder,) = tmp_path.glob("patauth-metrics-*")
        shutil.rmtree(folder)
        (worker,) = {pid for pid in service.workers() if "--only" not in command(pid)}
        os.kill(worker, signal.SIGKILL)
        until(lambda: "this process counts nothing" in service.said(), 30)
        until(lambda: service.status("/healthz") == 200, 30)
        assert requests.get(f"{service.url}/verify", headers=fields, timeout=10).status_code == 200


def test_an_address_that_is_taken_or_no_port_is_said_at_once() -> None:
    bind = f"127.0.0.1:{free_port()}"
    for address, code, said in (
        (bind, 1, "choose another address with --metrics-bind"),
        ("unix:/tmp/metrics", 2, "give HOST:PORT (port 1 to 65535) or [IPV6]:PORT\n"),
    ):
        result = CliRunner().invoke(program, ["serve", "--bind", bind, "--metrics-bind", address])
        assert (result.exit_code, result.stdout) == (code, "")
        assert said in result.stderr


# -- promtool ----------------------------------------------------------------------------------------------


def promtool(*words: str, given: str = "") -> str:
    done = subprocess.run(
        ["promtool", *words], cwd=ROOT, input=given, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_the_alert_rules_right_and_each_fires_when_it_should() -> None:
    rules = EXAMPLES / "patauth-alerts.yml"
    assert "SUCCESS: 9 rules found" in promtool("check", "rules", "--lint-fatal", str(rules))
    assert "SUCCESS" in promtool("test", "rules", "tests/data/patauth-alerts-test.yml")


def test_promtool_finds_nothing_to_say_about_the_metrics(engine: Server) -> None:
    with Authority.from_url(engine.url, metrics=True) as authority:
        authority.authenticate(basic_of(issue(authority)))
        text = generate_latest().decode()
    assert "patauth_build_info" in text
    ours = [line for line in text.splitlines() if "patauth_" in line and "_created" not in line]
    assert promtool("check", "metrics", given="\n".join(ours) + "\n") == ""


def test_promtool_takes_the_configuration_of_the_documents(tmp_path: Path) -> None:
    (text,) = blocks("docs/metrics.md", "yaml")
    (tmp_path / "prometheus.yml").write_text(text)
    rules = (EXAMPLES / "patauth-alerts.yml").read_text()
    (tmp_path / "patauth-alerts.yml").write_text(rules)
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))

"""The whole story over HTTP: gunicorn with 2 workers of 4 threads on `local:`, and the CLI beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from patauth import IssuedPat, Owner
from tests.support.authorities import issue, patient
from tests.support.gunicorn import Service, bearer
from tests.support.paths import EXAMPLES
from tests.support.threads import all_at_once


@pytest.fixture(params=["preload", "each its own"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    options = [] if request.param == "preload" else ["--no-preload"]
    if options:
        configuration = (EXAMPLES / "gunicorn.conf.py").read_text().replace("preload_app = True", "")
        configuration = configuration.replace("Path(__file__).parent", f"Path({str(EXAMPLES)!r})")
        (tmp_path / "gunicorn.conf.py").write_text(configuration)
        options = ["-c", str(tmp_path / "gunicorn.conf.py")]
    running = Service(tmp_path, *options)
    yield running
    running.stop()


def test_the_whole_story_and_all_of_it_still_true_after_a_restart(service: Service) -> None:
    pat_id, secret, token = service.create("ci", "reports:read")
    access = service.exchange(pat_id, secret)
    gone_id, gone_secret, gone_token = service.create("gone", "reports:read")
    gone_access = service.exchange(gone_id, gone_secret)

    def story() -> None:
        for given in ({"auth": (pat_id, secret)}, {"headers": bearer(token)}, {"headers": bearer(access)}):
            answer = service.get("/reports", **given)
            assert (answer.status_code, answer.json()["for"]) == (200, "alice")
            assert answer.headers["RateLimit-Policy"] == '"requests";q=100;w=10'
        refused = requests.post(service.url + "/reports", json={}, auth=(pat_id, secret), timeout=10)
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
        assert service.get("/reports").status_code == 401

    story()
    # Twenty requests to two workers: each has accepted it, and has its proof; none does after the deletion.
    for given in ({"auth": (gone_id, gone_secret)}, {"headers": bearer(gone_access)}):
        assert [service.get("/me", **given).status_code for _ in range(10)] == [200] * 10
    assert service.cli("pat", "revoke", gone_id, "--yes") == {"changed": 1, "ids": [gone_id]}

    def all_refused() -> None:
        for given in (
            {"auth": (gone_id, gone_secret)},
            {"headers": bearer(gone_token)},
            {"headers": bearer(gone_access)},
        ):
            assert {service.get("/me", **given).status_code for _ in range(8)} <= {401, 429}
            assert service.get("/me", **given).status_code != 200

    all_refused()
    service.stop()
    service.start()
    story()
    all_refused()
    listed = service.cli("pat", "list", "--owner-id", "alice")
    assert [pat["id"] for pat in listed["pats"]] == [pat_id]
    assert listed["pats"][0]["lastUsed"] is not None


def test_the_quota_is_one_for_all_workers_and_threads(service: Service) -> None:
    """8 clients ask as fast as they can; 100 pass, and those that come back in the meantime."""
    pat_id, secret, _ = service.create("ci", "reports:read")
    token = service.exchange(pat_id, secret)
    counts: list[dict[int, int]] = []
    retry: list[int] = []
    start = time.monotonic()

    def client() -> None:
        seen: dict[int, int] = {}
        with requests.Session() as session:
            for _ in range(40):
                answer = session.get(service.url + "/me", headers=bearer(token), timeout=10)
                seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
                if answer.status_code == 429:
                    retry.append(int(answer.headers["Retry-After"]))
        counts.append(seen)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    passed = sum(seen.get(200, 0) for seen in counts)
    assert sum(map(sum, (seen.values() for seen in counts))) == 320
    assert {status for seen in counts for status in seen} == {200, 429}
    assert 100 <= passed <= 100 + 10 * seconds
    assert set(retry) == {1}


def people(service: Service, count: int) -> list[IssuedPat]:
    """PATs of as many owners, on the store of the service."""
    with patient(service.environ["PATAUTH_STORE_URL"]) as authority:
        return [issue(authority, owner=Owner(f"owner-{number}")) for number in range(count)]


def test_64_pats_that_a_fresh_service_sees_at_once_are_all_accepted_and_noted(service: Service) -> None:
    """Each of them costs a hash, as after each deployment."""
    issued = people(service, 64)

    def ask(one: IssuedPat) -> Callable[[], int]:
        return lambda: service.get("/me", auth=(one.pat.id, one.secret)).status_code

    assert all_at_once([ask(one) for one in issued]) == [200] * 64
    with patient(service.environ["PATAUTH_STORE_URL"]) as authority:
        assert None not in [authority.get(one.pat.id).last_used for one in issued]


def test_ten_starts_under_load_refuse_nobody(service: Service) -> None:
    """Clients that were there before: the first requests of each worker come all at once."""
    issued = people(service, 8)
    for _ in range(10):
        service.stop()

        def client(one: IssuedPat) -> Callable[[], list[int]]:
            def ask() -> list[int]:
                found: list[int] = []
                end = time.monotonic() + 60
                while len(found) < 5 and time.monotonic() < end:
                    try:
                        found.append(service.get("/me", auth=(one.pat.id, one.secret)).status_code)
                    except requests.ConnectionError:  # it does not listen yet
                        time.sleep(0.01)
                return found

            return ask

        *found, _ = all_at_once([*(client(one) for one in issued), service.start])
        assert found == [[200] * 5] * len(issued)

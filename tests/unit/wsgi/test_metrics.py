"""What `patauth.metrics_app` answers with."""

from __future__ import annotations

import subprocess
import sys

import pytest

import patauth
from patauth import ConfigurationError, StoreUnavailable
from patauth.wsgi.metrics import KEPT, Expiring
from tests.support.authorities import Make, basic_of, issue
from tests.support.metrics import read
from tests.support.paths import ROOT
from tests.support.wsgi import request


def test_it_answers_with_what_prometheus_reads(make: Make) -> None:
    authority = make(metrics=True)
    authority.authenticate(basic_of(issue(authority)))
    answer = request(patauth.metrics_app(authority), "/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    found = read(answer.text)
    assert found['patauth_authentications_total{method="basic",outcome="accepted",reason=""}'] >= 1
    assert found[f'patauth_build_info{{version="{patauth.__version__}"}}'] == 1
    within = {label: found[f'patauth_pats_expiring{{within="{label}"}}'] for label in ("1d", "7d", "30d")}
    assert within == {"1d": 0, "7d": 0, "30d": 1}
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = request(patauth.metrics_app(authority), "/metrics", headers=wanted)
    assert answer.mimetype == "application/openmetrics-text"
    assert answer.text.endswith("# EOF\n")


def test_where_metrics_are_off_it_says_what_to_set(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"set metrics=True \(PATAUTH_METRICS=true\)"):
        patauth.metrics_app(make())


def test_without_prometheus_client_the_setting_says_what_to_install(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "patauth.observe.metrics", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'patauth\[metrics\]'"):
        make(metrics=True)


class Asked:
    """A store that is asked, and fails while it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.times = 0
        self.fails = False

    def count(self) -> list[int]:
        self.times += 1
        if self.fails:
            raise StoreUnavailable
        return [1, 2, self.times]


def test_the_store_is_asked_once_a_minute_and_while_it_fails_nothing_is_told() -> None:
    store = Asked()
    expiring = Expiring(store.count, timer=lambda: store.now)

    def told() -> list[float]:
        return [sample.value for metric in expiring.collect() for sample in metric.samples]

    assert (told(), told()) == ([1, 2, 1], [1, 2, 1])
    store.now = KEPT
    assert told() == [1, 2, 2]
    store.fails, store.now = True, 2 * KEPT
    assert (told(), told(), store.times) == ([], [], 3)
    store.fails, store.now = False, 3 * KEPT
    assert told() == [1, 2, 4]


def test_patauth_without_metrics_imports_nothing_of_prometheus() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); import patauth;"
        " patauth.Authority.from_url('memory:').close(); patauth.metrics_app;"
        " sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

"""The metrics against their document and their alert rules."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry

from patauth.wsgi.metrics import open_registry
from tests.support.authorities import Make, basic_of, issue
from tests.support.documents import read
from tests.support.paths import EXAMPLES


def families(registry: CollectorRegistry) -> dict[str, tuple[str, set[str]]]:
    """The type of each metric of patauth, and the labels of its samples, by its name in the document."""
    found = {}
    for family in registry.collect():
        samples = [one for one in family.samples if not one.name.endswith("_created")]
        if family.name.startswith("patauth_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = family.type, {label for one in samples for label in one.labels} - {"le"}
    return found


def test_the_document_has_each_metric_with_its_type_and_labels(make: Make) -> None:
    authority = make(metrics=True)
    authority.authenticate(basic_of(issue(authority)))
    rows = re.findall(r"^- \*\*`(patauth_\w+)`\*\* \((\w+)(.*?)\):", read("docs/metrics.md"), re.M)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == families(open_registry(authority))


def test_the_document_has_each_alert_and_each_alert_says_what_to_do_about_metrics_that_exist(
    make: Make,
) -> None:
    rules = (EXAMPLES / "patauth-alerts.yml").read_text("utf-8")
    alerts = re.findall(r"- alert: (\w+)\n.*?severity: (\w+)\n(.*?)(?=\n\n|\Z)", rules, re.S)
    documented = re.findall(r"^\| `(Patauth\w+)` \| (\w+) \|", read("docs/metrics.md"), re.M)
    assert documented == [(name, severity) for name, severity, _ in alerts]
    assert all("summary: " in said and "runbook: " in said for _, _, said in alerts)
    known = families(open_registry(make(metrics=True)))
    used = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"\bpatauth_\w+", rules)}
    assert used <= set(known)

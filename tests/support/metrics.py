"""Metrics as a scraper reads them, by prometheus-client's own parser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families

# By the name of a sample with its labels, as `name{label="value"}` has them in order of the labels.
Samples = Counter[str]


def read(text: str) -> Samples:
    """The values of an exposition, without the buckets and the times of creation."""
    return _of(text_string_to_metric_families(text))


def here() -> Samples:
    """The values in this process."""
    return _of(REGISTRY.collect())


def _of(families: Iterable[Metric]) -> Samples:
    found: Samples = Counter()
    for family in families:
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def grown(call: Callable[[], object], prefix: str = "patauth_") -> dict[str, float]:
    """By how much a call changes the values in this process, those that it does change."""
    before = here()
    call()
    after = here()
    return {
        name.removeprefix(prefix): after[name] - before[name]
        for name in after
        if name.startswith(prefix) and after[name] != before[name] and not name.endswith("_sum")
    }


def authentications(samples: Samples) -> dict[tuple[str, str], int]:
    """How many authentications there were, by method and reason; the reason of accepted ones is empty."""
    found = {}
    for name, value in samples.items():
        if name.startswith("patauth_authentications_total{") and value:
            labels = dict(pair.split("=") for pair in name.partition("{")[2].rstrip("}").split(","))
            method, outcome, reason = (labels[one].strip('"') for one in ("method", "outcome", "reason"))
            assert outcome == ("refused" if reason else "accepted")
            found[method, reason] = int(value)
    return found

"""What is handed to Ray's metrics: what stands still again and again, and of counters what has come since."""

from typing import Any, ClassVar

import pytest

from ray_sched.core.distribution import Distribution
from ray_sched.observe.samples import Sample
from ray_sched.system import ray_meter
from ray_sched.system.ray_meter import RayMeter

Record = tuple[str, float, dict[str, str]]


class Recorder:
    """Instead of Ray's own Counter and Gauge, which need a cluster."""

    records: ClassVar[list[Record]] = []

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self.tag_keys
        self.records.append((self.name, value, tags))

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray refuses it"
        self.set(value, tags)

    def _record(self, value: float, tags: dict[str, str]) -> None:
        self.set(value, tags)


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    monkeypatch.setattr(ray_meter, "Counter", Recorder)
    monkeypatch.setattr(ray_meter, "Gauge", Recorder)
    Recorder.records.clear()
    return Recorder.records


def of_jobs(n: int) -> list[Sample]:
    return [Sample("jobs_submitted", (), n), Sample("jobs", ("pending",), 1)]


def test_a_gauge_is_set_at_each_tick_and_a_counter_only_when_it_has_grown(records: list[Any]) -> None:
    meter = RayMeter()
    for n in (0, 5, 5, 7):
        meter.write(of_jobs(n))
    gauges = [value for name, value, _ in records if name == "sched_jobs"]
    counters = [value for name, value, _ in records if name == "sched_jobs_submitted"]
    assert gauges == [1, 1, 1, 1]
    assert counters == [0, 5, 2]


def test_a_counter_that_has_begun_elsewhere_begins_here_with_zero(records: list[Any]) -> None:
    RayMeter().write(of_jobs(3))
    assert [value for name, value, _ in records if name == "sched_jobs_submitted"] == [0, 3]


def test_a_histogram_is_its_buckets_sum_and_count(records: list[Any]) -> None:
    seen = Distribution()
    seen.observe(40)
    RayMeter().write([Sample("store_commit_seconds", ("registry",), seen)])
    assert ("sched_store_commit_seconds_bucket", 1, {"actor": "registry", "le": "0.05"}) in records
    assert ("sched_store_commit_seconds_bucket", 0, {"actor": "registry", "le": "0.025"}) in records
    assert records[-2:] == [
        ("sched_store_commit_seconds_sum", 0.04, {"actor": "registry"}),
        ("sched_store_commit_seconds_count", 1, {"actor": "registry"}),
    ]

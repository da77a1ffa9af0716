"""What the brains' counters say as samples of the families."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ray_sched.core.distribution import Distribution
from ray_sched.core.job import JobStatus
from ray_sched.observe.dispatcher import dispatcher_samples
from ray_sched.observe.exposition import page
from ray_sched.observe.families import FAMILIES, MAX_FAMILIES, Family, Kind
from ray_sched.observe.samples import Sample, points
from tests.support.builders import DispatchHarness, a_node, accepted, finished

LEDGER = {"held": 32_000, "stored": 0}


def samples(harness: DispatchHarness) -> dict[tuple[str, tuple[str, ...]], float | Distribution]:
    found = dispatcher_samples(harness.brain, ledger=LEDGER, n_mail=2)
    return {(sample.family, sample.labels): sample.value for sample in found}


def test_there_are_at_most_fifty_families() -> None:
    assert len(FAMILIES) <= MAX_FAMILIES


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_is_named_by_prometheus_conventions(family: Family) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", family.name)
    assert not family.name.endswith(("_total", "_ms", "_count", "_bucket", "_sum"))
    assert not set(family.labels) & {"job", "session", "tenant", "client", "le"}
    assert (family.kind is Kind.HISTOGRAM) == bool(family.boundaries)
    assert family.help.endswith(".")


def test_a_distribution_becomes_the_buckets_of_a_histogram_in_seconds() -> None:
    seen = Distribution()
    for ms in (1, 7, 7, 90_000):
        seen.observe(ms)
    found = points(Sample("job_wait_seconds", (), seen))
    buckets = {point.labels["le"]: point.value for point in found if point.suffix == "_bucket"}
    assert (buckets["0.001"], buckets["0.005"], buckets["0.01"], buckets["60"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    assert found[-2:] == [("_sum", {}, 90.015), ("_count", {}, 4)]


def test_jobs_are_counted_by_where_they_are() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.submit("r1")
    harness.submit("r2")
    found = samples(harness)
    assert found["jobs", ("assigned",)] == 1
    assert found["jobs", ("pending",)] == 1
    assert found["jobs_submitted", ()] == 2
    assert found["audio_seconds", ("pending",)] == found["audio_seconds", ("assigned",)] == 1
    slots = {labels[1]: value for (family, labels), value in found.items() if family == "slots"}
    assert slots == {"free": 0, "acquired": 1}
    assert found["ledger_bytes", ("dispatcher", "held")] == 32_000
    wait = found["job_wait_seconds", ()]
    assert isinstance(wait, Distribution)
    assert sum(wait.counts) == 1


def test_what_has_not_happened_yet_is_zero_and_there() -> None:
    found = samples(DispatchHarness())
    assert found["jobs_ended", (JobStatus.FAILED,)] == 0
    assert found["jobs_failed", ("POISON_JOB",)] == 0


def test_the_page_is_what_prometheus_reads() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.submit("r1")
    text = page(dispatcher_samples(harness.brain, ledger=LEDGER, n_mail=0))
    read = {family.name: family for family in text_string_to_metric_families(text)}
    assert read["ray_sched_jobs_submitted"].type == "counter"
    assert read["ray_sched_jobs_submitted"].samples[0].value == 1
    assert read["ray_sched_job_wait_seconds"].type == "histogram"
    assert read["ray_sched_job_wait_seconds"].samples[-1].name == "ray_sched_job_wait_seconds_count"


def test_the_time_of_a_push_ends_with_the_acceptance_at_its_node() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.now_ms += 40
    harness.report(accepted(job))
    push = samples(harness)["job_push_seconds", ()]
    assert isinstance(push, Distribution)
    assert (sum(push.counts), push.total) == (1, 40)


def test_a_run_so_short_that_its_acceptance_is_not_reported_has_a_push_time_all_the_same() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.now_ms += 40
    harness.report(finished(job, run_ms=30))
    push = samples(harness)["job_push_seconds", ()]
    assert isinstance(push, Distribution)
    assert (sum(push.counts), push.total) == (1, 10)

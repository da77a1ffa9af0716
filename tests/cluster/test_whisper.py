"""Real Whisper on a real cluster: one by one and in batches, and when its process is killed in the middle of one."""

import asyncio
from collections.abc import Iterator

import pytest

from ray_sched import Client, Result
from ray_sched.data import samples
from ray_sched.data.word_errors import word_error_rate
from ray_sched.system.local import LocalNode
from tests.support.cluster import RunningCluster, wait_until
from tests.support.processes import agent_of, engines_of
from tests.support.weights import whisper_tiny_en

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("whisper")]

TEN_PERCENT = 0.10
NODES = ("batched", "single")
SLOTS = 5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Two nodes with the same model, one of which hears five utterances together, and waits until it has them."""
    nodes = [LocalNode(labels={"engine": "neural", "asr": "en", "node": name, "slots": str(SLOTS)}) for name in NODES]
    options = {
        "neural": {"asr-model": str(whisper_tiny_en())},
        "batched": {"max-batch": str(SLOTS), "max-batch-wait-ms": "60000"},
    }
    with RunningCluster(nodes, tmp_path_factory.mktemp("data"), engines=options) as it:
        yield it


def only(cluster: RunningCluster, node: str) -> None:
    """New work goes to this node from now on."""
    other = next(name for name in NODES if name != node)
    if status_of(cluster, node) != "ready":
        cluster.run(cluster.scheduler.undrain_node(node))
        wait_until(lambda: status_of(cluster, node) == "ready", 60, f"{node} is ready")
    cluster.run(cluster.scheduler.drain_node(other, None))


def status_of(cluster: RunningCluster, node: str) -> str:
    return next(row.status for row in cluster.run(cluster.scheduler.nodes()) if row.node == node)


async def heard(cluster: RunningCluster) -> list[Result]:
    async with Client(cluster.settings) as client:
        handles = [client.submit(sample.path, src="en", words=True) for sample in samples()]
        return [await handle for handle in handles]


def errors(results: list[Result]) -> float:
    pairs = zip(samples(), results, strict=True)
    return word_error_rate([(sample.transcript, result.text) for sample, result in pairs])


@pytest.mark.parametrize("node", NODES)
def test_the_recordings_have_less_than_ten_percent_word_errors_and_words_with_times(
    cluster: RunningCluster, node: str
) -> None:
    only(cluster, node)
    results = cluster.run(heard(cluster))
    assert {result.node for result in results} == {node}
    assert errors(results) < TEN_PERCENT
    for result in results:
        starts = [word.start_ms for word in result.words]
        assert starts == sorted(starts)
        assert 0 < result.words[-1].end_ms <= result.audio_ms
        assert all(0 < (segment.confidence or 0) < 1 for segment in result.segments)
        assert result.model == "whisper model"


def test_an_engine_that_is_killed_in_the_middle_of_a_batch_takes_no_job_with_it_and_blames_none(
    cluster: RunningCluster,
) -> None:
    only(cluster, "batched")
    (engine,) = engines_of(agent_of("batched").pid)
    used_s = engine.cpu_times().user

    async def kill() -> list[Result]:
        async with Client(cluster.settings) as client:
            handles = [client.submit(sample.path, src="en") for sample in samples()]
            while engine.cpu_times().user < used_s + 0.2:  # noqa: ASYNC110  # it hears them now
                await asyncio.sleep(0.02)
            engine.kill()
            return [await handle for handle in handles]

    results = cluster.run(kill())
    assert errors(results) < TEN_PERCENT
    whys = [note.why for result in results for note in result.attempts if "signal 9" in note.why]
    assert len(whys) == SLOTS
    assert all(why.endswith("in the middle of a run, with 4 others") for why in whys)
    assert status_of(cluster, "batched") == "ready"

"""What a user sees of a real cluster: three raylets that can do different things."""

import asyncio
import itertools
from collections import defaultdict

import numpy as np
import pytest

from ray_sched import BlockingClient, Client, Missing, Result, SchedError
from ray_sched.client.audio import AudioSource
from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.views.story_rows import Told
from ray_sched.system.store_stats import object_store_stats
from tests.support.cluster import RunningCluster, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("three_nodes")]

SECOND = np.zeros(16_000, np.int16)


def nodes_of(results: list[Result]) -> set[str]:
    return {result.node for result in results}


def test_jobs_go_only_where_they_can_run(three_nodes: RunningCluster) -> None:
    async def submit_all() -> tuple[list[Result], list[Result], list[Result], list[Result]]:
        async with Client(three_nodes.settings) as client:
            pairs = [("en", "en", False), ("en", "es", False), ("es", "en", False), ("en", "es", True)]
            handles = [client.submit_many([SECOND] * 30, src=src, tgt=tgt, speech=speech) for src, tgt, speech in pairs]
            done = [[await handle for handle in of_pair] for of_pair in handles]
            return done[0], done[1], done[2], done[3]

    transcribed, translated, back, spoken = three_nodes.run(submit_all())
    assert len(transcribed) == len(translated) == len(back) == len(spoken) == 30
    assert nodes_of(transcribed) <= {"hears", "translates", "both"}
    assert nodes_of(translated) <= {"translates", "both"}
    assert nodes_of(back) == {"both"}
    assert nodes_of(spoken) == {"both"}
    assert all(len(result.speech) == SECOND.nbytes for result in spoken)
    assert {row.node for row in three_nodes.run(three_nodes.scheduler.nodes())} == {"hears", "translates", "both"}
    assert len(three_nodes.run(three_nodes.scheduler.pools())) == 3


def test_a_pair_nobody_serves_is_answered_with_the_reason_of_each_node(three_nodes: RunningCluster) -> None:
    async def submit() -> Result:
        async with Client(three_nodes.settings) as client:
            return await client.submit(SECOND, src="de", deadline_s=1.5).result()

    result = three_nodes.run(submit())
    assert result.error is not None
    assert result.error.code is Code.NO_AVAILABLE_NODE
    assert "3 x ASR_LANG_UNSUPPORTED (both, hears, translates)" in result.error.message
    assert 1400 <= result.wait_ms <= 5000


class Talk:
    """Twenty sessions of a hundred utterances each, at most twenty under way in each, as speakers would have them."""

    AUDIO = tuple(np.full(1600 * (1 + n % 5), n, np.int16) for n in range(10))
    PAIRS = (("en", "en"), ("en", "es"), ("es", "en"))

    def __init__(self) -> None:
        self.told: dict[str, list[Result | Missing]] = defaultdict(list)

    async def listen(self, client: Client, name: str) -> None:
        async for what in client.session(name):
            self.told[name].append(what)
            if len(self.told[name]) == 100:
                return

    async def speak(self, client: Client, name: str, n_session: int) -> None:
        src, tgt = self.PAIRS[n_session % 3]
        window = asyncio.Semaphore(20)

        async def utter(index: int) -> None:
            async with window:
                result = await client.submit(
                    self.AUDIO[index % 10], src=src, tgt=tgt, session=name, utterance_index=index, deadline_s=120
                ).result()
                assert result.error is None, result

        await asyncio.gather(*(utter(index) for index in range(100)))

    async def hold(self, cluster: RunningCluster) -> int:
        """All of it; returns the bytes that the client's ledger holds when the last calls have returned.

        A result may be here before the call that has brought the audio to its node has returned.
        """
        async with Client(cluster.settings) as client:
            names = [f"session-{n}" for n in range(20)]
            listening = [asyncio.create_task(self.listen(client, name)) for name in names]
            await asyncio.gather(*(self.speak(client, name, n) for n, name in enumerate(names)))
            await asyncio.gather(*listening)
            for _ in range(1000):  # the Dispatcher knows what the last poll has said
                if not client.ledger.bytes_in() and not (await cluster.scheduler.status()).stored_bytes:
                    break
                await asyncio.sleep(0.01)
            return client.ledger.bytes_in()


def test_two_thousand_jobs_of_twenty_sessions_complete_once_each_in_order(three_nodes: RunningCluster) -> None:
    talk = Talk()
    # what the nodes say themselves is as old as their last heartbeat
    accepted_before = three_nodes.run(three_nodes.scheduler.status()).counters["assigned"]
    assert three_nodes.run(talk.hold(three_nodes)) == 0
    for name, results in talk.told.items():
        assert [what.utterance_index for what in results if isinstance(what, Result)] == list(range(100)), name
    job_ids = [what.job_id for what in itertools.chain(*talk.told.values()) if isinstance(what, Result)]
    assert len(job_ids) == len(set(job_ids)) == 2000

    def all_at_rest() -> bool:
        rows = three_nodes.run(three_nodes.scheduler.nodes())
        accepted = sum(row.accepted for row in rows) - accepted_before
        return accepted >= 2000 and not any(
            row.running or row.audio_bytes or row.speech_bytes or row.acquired for row in rows
        )

    wait_until(all_at_rest, 5, "no slot, lease or byte is held")
    rows = three_nodes.run(three_nodes.scheduler.nodes())
    assert sum(row.accepted for row in rows) - accepted_before == 2000
    assert all(1 <= row.most_running <= row.slots for row in rows)
    view = three_nodes.run(three_nodes.scheduler.status())
    assert (view.waiting, view.spent_slots, view.stored_bytes) == (0, 0, 0)
    assert view.free_slots == view.slots == 12
    wait_until(lambda: object_store_stats().n_objects == 0, 2, "the object store is empty")
    removed = three_nodes.run(three_nodes.scheduler.cleanup(0))
    assert removed["kept"] == 0
    assert sum(three_nodes.run(three_nodes.scheduler.status()).jobs.values()) == 0


def test_a_repeated_request_id_is_the_same_job_and_other_content_is_refused(three_nodes: RunningCluster) -> None:
    async def submit() -> tuple[Result, Result, Result, Result]:
        async with Client(three_nodes.settings) as client:
            first = client.submit(SECOND, src="en", request_id="r1")
            second = client.submit(SECOND, src="en", request_id="r1")
            results = await first, await second
            again = await client.submit(SECOND, src="en", request_id="r1")
            other = await client.submit(SECOND + 1, src="en", request_id="r1").result()
            return (*results, again, other)

    first, second, again, other = three_nodes.run(submit())
    assert first.job_id == second.job_id == again.job_id
    assert other.error is not None
    assert other.error.code is Code.DUPLICATE_REQUEST


def test_an_utterance_index_given_twice_is_refused_and_the_session_goes_on(three_nodes: RunningCluster) -> None:
    async def submit() -> list[Result]:
        async with Client(three_nodes.settings) as client:
            handles = [client.submit(SECOND, src="en", session="s", utterance_index=index) for index in (0, 1, 1, 2)]
            return [await handle.result() for handle in handles]

    results = three_nodes.run(submit())
    assert [result.error.code if result.error else result.utterance_index for result in results] == [
        0,
        1,
        Code.DUPLICATE_INDEX,
        2,
    ]


def test_results_in_session_order_whatever_order_they_were_submitted_in(three_nodes: RunningCluster) -> None:
    async def submit() -> list[int | None]:
        async with Client(three_nodes.settings) as client:
            stream = client.session("s")
            for index in (2, 0, 3, 1):
                client.submit(SECOND, src="en", session="s", utterance_index=index)
            told = [await anext(stream) for _ in range(4)]
            return [what.utterance_index for what in told if isinstance(what, Result)]

    assert three_nodes.run(submit()) == [0, 1, 2, 3]


def test_a_queued_and_a_running_job_can_be_cancelled(three_nodes: RunningCluster) -> None:
    minute = np.zeros(60 * 16_000, np.int16)

    async def cancel() -> list[str]:
        async with Client(three_nodes.settings) as client:
            handles = [client.submit(np.tile(minute, 5), src="es") for _ in range(5)]
            for handle in handles:
                await handle.accepted()
            for handle in reversed(handles):
                await handle.cancel()
            return [(await handle.result()).status for handle in handles]

    assert three_nodes.run(cancel()) == ["cancelled"] * 5
    wait_until(lambda: three_nodes.run(three_nodes.scheduler.status()).spent_slots == 0, 10, "their slots come back")


def test_partial_texts_come_before_the_result(three_nodes: RunningCluster) -> None:
    async def submit() -> tuple[list[str], str]:
        async with Client(three_nodes.settings) as client:
            handle = client.submit(np.zeros(160_000, np.int16), src="es", partials=True)
            partials = [text async for text in handle.partials()]
            return partials, (await handle).text

    partials, text = three_nodes.run(submit())
    assert partials
    assert text


def test_map_yields_bad_audio_as_a_failed_result_and_goes_on(three_nodes: RunningCluster) -> None:
    def broken() -> bytes:
        raise OSError("the disk is gone")

    async def run() -> list[Result]:
        async with Client(three_nodes.settings) as client:
            sources: list[AudioSource] = [SECOND, b"this is not audio", SECOND, broken, SECOND]
            return [result async for result in client.map(sources, src="en", order="input")]

    results = three_nodes.run(run())
    assert [result.error.code if result.error else "ok" for result in results] == [
        "ok",
        Code.INVALID_AUDIO,
        "ok",
        Code.INVALID_AUDIO,
        "ok",
    ]


def test_the_blocking_client_gives_the_same_results_without_await(three_nodes: RunningCluster) -> None:
    with BlockingClient(three_nodes.settings) as client:
        assert client.submit(SECOND, src="en").text == "echo of 16000 samples"
        with pytest.raises(SchedError, match="not a language tag"):
            client.submit(SECOND, src="english")
        assert [result.status for result in client.map([SECOND] * 5, src="en")] == ["completed"] * 5


def test_results_can_be_had_in_the_order_of_completion(three_nodes: RunningCluster) -> None:
    async def submit() -> list[int]:
        async with Client(three_nodes.settings) as client:
            handles = [client.submit(np.zeros(16_000 * seconds, np.int16), src="es") for seconds in (200, 2, 100)]
            return [result.audio_ms async for result in client.as_completed(handles)]

    assert three_nodes.run(submit()) == [2_000, 100_000, 200_000]


def test_explain_tells_the_story_of_a_finished_job_and_the_reasons_of_a_waiting_one(
    three_nodes: RunningCluster,
) -> None:
    async def ask() -> None:
        async with Client(three_nodes.settings) as client:
            done = client.submit(SECOND, src="en")
            await done
            finished = await three_nodes.scheduler.explain(done.job_id)
            assert [what.split()[0] for _, _, what in finished.story] == [
                "submitted",
                "assigned",
                "accepted",
                "ran",
                "completed",
            ]
            waits = client.submit(SECOND, src="fr")
            waiting = await three_nodes.scheduler.explain(await waits.accepted())
            assert {verdict.reason for verdict in waiting.nodes} == {"ASR_LANG_UNSUPPORTED"}
            assert waiting.summary.startswith(
                "waits for a node that offers it, and of 3 nodes none does: 3 x ASR_LANG_UNSUPPORTED"
            )
            assert waiting.otherwise[0].facts == ("both recognised fr",)
            (row,) = await three_nodes.scheduler.explain_all()
            assert (row.tier, row.jobs, row.nodes) == ("NO_NODE_OFFERS_IT", 1, 3)
            dry = await three_nodes.scheduler.dry_run(JobSpec(request_id="dry", src="en", tgt="en"))
            assert dry.summary.startswith("would start now on ")
            told = await three_nodes.scheduler.story(Told(job_id=done.job_id))
            kinds = [line.what for line in told.rows]
            assert (kinds, told.is_over) == (["submitted", "assigned", "accepted", "ran", "ended"], True)
            of_node = (await three_nodes.scheduler.story(Told(node="both"))).rows
            assert {line.node for line in of_node} == {"both"}
            with pytest.raises(SchedError, match="no job 'nonsense'"):
                await three_nodes.scheduler.explain("nonsense")

    three_nodes.run(ask())

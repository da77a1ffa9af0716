"""Who is to blame: a node only for what it did."""

from ray_sched.core.messages.agent_dispatcher import DropSpeech
from ray_sched.core.messages.client_dispatcher import Delivered
from tests.support.builders import EN_ES, DispatchHarness, a_node, accepted, finished, only, orders, told


def test_speech_that_nobody_fetches_ends_its_job_and_accuses_no_node() -> None:
    harness = DispatchHarness()
    nodes = ("node-a", "node-b", "node-c")
    harness.offer(*(a_node(name) for name in nodes), capability=EN_ES)
    for n in range(18):
        job = harness.submit(f"r{n}", tgt="es", services=("asr", "mt", "tts"))
        node = harness.job(job).node
        harness.report(accepted(job), finished(job, speech_bytes=640), node=node)
        effects = harness.wait(60_000)
        harness.offer(*(a_node(name) for name in nodes), capability=EN_ES)
        error = only(told(effects, Delivered)).outcome.error
        assert error
        assert error.message == "its speech was not fetched in 1 min"
        assert orders(effects) == [DropSpeech(job_id=job, attempt=1)]
        assert harness.job(job).attempt == 1, "it has run, and does not run again"
    assert not any(node_state.quarantined_until_ms for node_state in harness.brain.node_states.values())

"""What the simulation found in the brains, each as short as it can be told, and by seed."""

from ray_sched.core.capability import Capability
from ray_sched.core.effects import CleanupDue, Save
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.agent_dispatcher import RunRefused, StopRun
from ray_sched.core.messages.client_dispatcher import Cancel, MissingResult, PushFailed
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.effects import NotifyPool, StopAgent
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.ports import SaveSpeeds
from tests.support.agent_harness import SEEN, AgentHarness
from tests.support.builders import a_beat, a_node, accepted, finished, orders, refused, stopped, told
from tests.support.registry_harness import RegistryHarness, a_record, of
from tests.support.saving_harness import SavingHarness

ENGLISH = Capability(engine="echo", asr=("en",))


def a_placed_record(node: str, *, is_drained: bool = False) -> NodeRecord:
    record = a_record(node, f"ray-of-{node}", 2, is_drained=is_drained)
    return NodeRecord(
        declaration=record.declaration,
        ray_node_id=record.ray_node_id,
        incarnation=2,
        is_drained=is_drained,
        capability=ENGLISH,
        pool=ENGLISH.text(),
    )


def test_a_pool_is_never_told_of_some_of_its_nodes_only_after_a_restart() -> None:
    harness = RegistryHarness()
    restored = harness.brain.restore([a_placed_record("node-a"), a_placed_record("node-b")], harness.now_ms)
    told = of([*restored, *harness.beat(a_beat("node-a", incarnation=2))], NotifyPool)
    assert {tuple(view.node for view in effect.members.nodes) for effect in told} == {("node-a", "node-b")}


def test_a_node_that_did_not_outlive_the_registry_is_gone_for_its_pool_too() -> None:
    harness = RegistryHarness()
    harness.brain.restore([a_placed_record("node-a")], harness.now_ms)
    effects = harness.brain.agent_died("node-a", 2, "there is no actor", harness.now_ms)
    assert [view.status for view in of(effects, NotifyPool)[-1].members.nodes] == [NodeStatus.LOST]


def test_a_drain_goes_on_after_a_restart_of_the_registry() -> None:
    harness = RegistryHarness()
    harness.brain.restore([a_placed_record("node-a", is_drained=True)], harness.now_ms)
    assert of(harness.brain.tick(harness.now_ms), StopAgent) == []
    harness.beat(a_beat("node-a", incarnation=2, running=1))
    assert harness.status() is NodeStatus.DRAINING


def test_an_attempt_keeps_its_slot_where_nothing_is_leased_when_the_dispatcher_restarts() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", slots=0, total_slots=1))
    assert (harness.job(job).status, harness.job(job).attempt) == (JobStatus.ASSIGNED, 1)


def test_an_attempt_that_was_ordered_to_stop_holds_its_slot_and_is_stopped_again_after_a_restart() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    harness.report(accepted(job))
    harness.send(Cancel(job_id=job))
    harness.crash()
    assert orders(harness.offer(a_node("node-a", slots=1))) == [StopRun(job_id=job, attempt=1)]
    waiting = harness.submit("r2")
    assert harness.job(waiting).status is JobStatus.PENDING
    harness.report(stopped(job))
    assert harness.job(waiting).status is JobStatus.ASSIGNED
    assert harness.disk.jobs()[0].fenced == ()


def test_an_attempt_given_up_before_its_node_is_offered_again_is_stopped_when_it_is() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    harness.crash()
    harness.send(PushFailed(job_id=job, attempt=1, why="no answer"))
    assert StopRun(job_id=job, attempt=1) in orders(harness.offer(a_node("node-a", slots=1)))


def test_a_repeated_push_of_an_attempt_whose_speech_waits_does_not_run_it_again() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit("r1")
    node = harness.job(job).node
    harness.report(accepted(job), finished(job, 1, speech_bytes=640), node=node)
    harness.report(refused(job, why="this attempt was pushed or stopped here before"), node=node)
    assert (harness.job(job).status, harness.job(job).attempt) == (JobStatus.PROCESSING, 1)


def test_an_attempt_that_was_refused_stays_refused() -> None:
    agent = AgentHarness(slots=1)
    agent.refuses_because = "no memory"
    agent.push("j1")
    agent.refuses_because = None
    assert agent.push("j1") == []
    assert agent.sent() == [RunRefused(job_id="j1", attempt=1, why=why) for why in ("no memory", SEEN)]


def test_speeds_of_a_node_that_is_gone_are_not_written_after_the_node_was_forgotten() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1"))
    harness.offer(a_node("node-b"))
    saved = [effect.change for effect in harness.handle(CleanupDue(300_000)) if isinstance(effect, Save)]
    assert [change for change in saved if isinstance(change, SaveSpeeds)] == []


def test_a_client_that_was_gone_is_told_of_the_results_it_may_have_missed() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1", session="s", utterance_index=0))
    harness.wait(30_000, polling=())
    harness.run(harness.submit("r2", session="s", utterance_index=1))
    missing = told(harness.wait(6_000), MissingResult)
    assert [(gap.first_index, gap.last_index) for gap in missing] == [(0, 0)]

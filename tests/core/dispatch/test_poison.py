"""Poison: the job that kills agents is failed, and nobody that ran beside it."""

from ray_sched.core.effects import DispatchEffect
from ray_sched.core.errors import EXIT_STATUS, Code, Refusal
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered
from ray_sched.core.messages.pool_dispatcher import NodeOffer
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.effects import NotifyPool
from ray_sched.core.rules import PoolRules
from ray_sched.core.views.explain import explain
from tests.support.builders import DispatchHarness, a_beat, a_node, accepted, failed, finished, only, stopped, told
from tests.support.registry_harness import RegistryHarness, of
from tests.support.saving_harness import SavingHarness


def a_dead_node(node: str, why: str = "its agent died: signal 11", *, has_died: bool = True) -> NodeOffer:
    return a_node(node, slots=0, total_slots=2, status=NodeStatus.LOST, has_died=has_died, because=why)


class Ward(SavingHarness):
    """A harness with nodes that can be killed; each has a pool of its own, and comes back at once."""

    def __init__(self, n_nodes: int, slots: int = 2) -> None:
        super().__init__()
        self.slots = slots
        self.incarnation = {f"node-{n}": 1 for n in range(n_nodes)}
        for node in self.incarnation:
            self.ready(node)

    def ready(self, node: str) -> list[DispatchEffect]:
        return self.offer(a_node(node, slots=self.slots, incarnation=self.incarnation[node]), pool=node)

    def accept(self, job: str) -> str:
        """The current attempt runs; its node."""
        its = self.job(job)
        self.report(accepted(job, its.attempt), node=its.node, incarnation=its.incarnation)
        return its.node

    def finish(self, job: str) -> None:
        its = self.job(job)
        self.report(finished(job, its.attempt), node=its.node, incarnation=its.incarnation)

    def kill(self, node: str, *, has_died: bool = True) -> list[DispatchEffect]:
        """The agent of a node dies, and a new one is there at once."""
        gone = a_node(
            node,
            slots=0,
            total_slots=self.slots,
            incarnation=self.incarnation[node],
            status=NodeStatus.LOST,
            has_died=has_died,
            because="its agent died" if has_died else "silent for 3 s",
        )
        effects = self.offer(gone, pool=node)
        self.incarnation[node] += 1
        return effects + self.ready(node)


def error_of(effects: list[DispatchEffect]) -> Refusal:
    error = only(told(effects, Delivered)).outcome.error
    assert error is not None
    return error


def test_a_job_that_kills_two_agents_is_poison_and_its_failure_tells_both() -> None:
    ward = Ward(3)
    job = ward.submit("r1")
    first = ward.accept(job)
    ward.kill(first)
    second = ward.accept(job)
    error = error_of(ward.kill(second))
    assert (error.code, EXIT_STATUS[error.code]) == (Code.POISON_JOB, 17)
    assert error.message == (
        "agents die of this job, it is not run again: "
        f"attempt 1 on {first}: NODE_LOST: the node is lost: its agent died; "
        f"attempt 2 on {second}: NODE_LOST: the node is lost: its agent died"
    )


def test_a_job_that_crashes_its_engine_twice_is_poison() -> None:
    ward = Ward(2)
    job = ward.submit("r1")
    for attempt in (1, 2):
        node = ward.accept(job)
        effects = ward.report(failed(job, attempt, Code.ENGINE_CRASHED), node=node)
    assert error_of(effects).code is Code.POISON_JOB


def crash(ward: Ward, job: str, *, was_alone: bool) -> list[DispatchEffect]:
    """The engine's process ends in the pass of this job."""
    node = ward.accept(job)
    return ward.report(failed(job, ward.job(job).attempt, Code.ENGINE_CRASHED, was_alone=was_alone), node=node)


def test_after_the_crash_of_a_pass_each_of_its_jobs_has_its_pass_for_itself_and_only_the_killer_is_poison() -> None:
    ward = Ward(2)
    killer, innocent = ward.submit("killer"), ward.submit("innocent")
    for job in (killer, innocent):
        effects = crash(ward, job, was_alone=False)
        assert [event.has_own_pass for event in told(effects, Assigned) if event.job_id == job] == [True]
    assert [(ward.job(job).kills, ward.job(job).suspicions) for job in (killer, innocent)] == [(0, 1)] * 2
    ward.accept(innocent)
    ward.finish(innocent)
    crash(ward, killer, was_alone=True)
    assert error_of(crash(ward, killer, was_alone=True)).code is Code.POISON_JOB
    assert ward.status(innocent) == "completed"


def test_an_innocent_that_shared_two_passes_with_killers_is_not_failed() -> None:
    ward = Ward(2)
    job = ward.submit("r1")
    for _ in range(2):
        crash(ward, job, was_alone=False)
    assert (ward.status(job), ward.job(job).suspicions) == ("assigned", 2)


def test_one_death_counts_once_against_the_node_however_many_jobs_were_in_the_pass() -> None:
    ward = Ward(1, slots=20)
    for job in [ward.submit(f"r{n}") for n in range(20)]:
        crash(ward, job, was_alone=False)
    assert ward.brain.node_states["node-0"].quarantined_until_ms == 0


def test_an_engine_that_crashed_once_and_failed_once_is_told_apart() -> None:
    ward = Ward(3)
    job = ward.submit("r1")
    for attempt, code in enumerate((Code.ENGINE_CRASHED, Code.ENGINE_FAILED, Code.ENGINE_FAILED), start=1):
        effects = ward.report(failed(job, attempt, code), node=ward.accept(job))
    error = error_of(effects)
    assert error.code is Code.ENGINE_FAILED
    assert "attempt 1 on" in error.message
    assert "ENGINE_CRASHED: it broke" in error.message


def test_silence_accuses_nobody() -> None:
    ward = Ward(3)
    job = ward.submit("r1")
    for _ in range(3):
        ward.kill(ward.accept(job), has_died=False)
    assert (ward.job(job).kills, ward.job(job).suspicions, ward.status(job)) == (0, 0, "assigned")


def test_a_job_that_was_only_assigned_there_is_no_suspect() -> None:
    ward = Ward(2)
    job = ward.submit("r1")
    ward.kill(ward.job(job).node)
    assert (ward.job(job).kills, ward.job(job).suspicions, ward.job(job).attempt) == (0, 0, 2)


def test_those_who_had_bad_company_once_go_on_as_if_nothing_had_happened() -> None:
    ward = Ward(1)
    jobs = [ward.submit(f"r{n}") for n in range(2)]
    for job in jobs:
        ward.accept(job)
    ward.kill("node-0")
    assert [(ward.job(job).suspicions, ward.job(job).is_exclusive) for job in jobs] == [(1, False)] * 2
    assert [ward.job(job).node for job in jobs] == ["node-0"] * 2


def suspect(ward: Ward) -> tuple[str, str]:
    """A poison and an innocent that ran beside it at two deaths."""
    poison, innocent = ward.submit("poison"), ward.submit("innocent")
    for _ in range(2):
        ward.accept(poison)
        ward.accept(innocent)
        ward.kill("node-0")
    assert [ward.job(job).suspicions for job in (poison, innocent)] == [2, 2]
    return poison, innocent


def test_who_had_bad_company_twice_runs_alone_and_is_innocent() -> None:
    ward = Ward(1)
    poison, innocent = suspect(ward)
    assert [ward.status(job) for job in (poison, innocent)] == ["assigned", "pending"]
    assert explain(ward.brain, innocent, ward.now_ms).nodes[0].reason == "KEPT_EMPTY"
    other = ward.submit("other")
    assert ward.status(other) == "pending"
    ward.accept(poison)
    assert error_of(ward.kill("node-0")).code is Code.POISON_JOB
    assert ward.status(innocent) == "assigned"
    ward.accept(innocent)
    ward.finish(innocent)
    assert [ward.status(job) for job in (innocent, other)] == ["completed", "assigned"]


def test_the_node_that_has_least_to_do_becomes_empty_while_others_pass() -> None:
    ward = Ward(2)
    busy = [ward.submit(f"busy-{n}", audio_ms=1_000 * n + 1_000) for n in range(4)]
    for job in busy:
        ward.accept(job)
    alone = ward.submit("alone", priority=1)
    ward.job(alone).is_exclusive = True
    passing = [ward.submit(f"passing-{n}") for n in range(2)]
    ward.finish(busy[0])
    kept = next(node_state for node_state in ward.brain.node_states.values() if node_state.reserved_for == alone)
    assert [ward.status(job) for job in (alone, *passing)] == ["pending", "pending", "pending"]
    others = [job for job in busy[1:] if ward.job(job).node != kept.node]
    for job in others:
        ward.finish(job)
    assert [ward.status(job) for job in (alone, *passing)] == ["pending", "assigned", "assigned"]
    for job in busy[1:]:
        if job not in others:
            ward.finish(job)
    assert (ward.job(alone).node, kept.n_acquired) == (kept.node, 1)
    late = ward.submit("late")
    assert ward.status(late) == "pending"
    ward.accept(alone)
    ward.finish(alone)
    assert ward.job(late).node == kept.node


def test_a_node_is_kept_empty_no_longer_than_somebody_waits_for_it() -> None:
    ward = Ward(1)
    poison, innocent = suspect(ward)
    ward.accept(poison)
    ward.finish(poison)
    assert ward.brain.node_states["node-0"].reserved_for == innocent
    ward.cancel(innocent)
    ward.report(stopped(innocent, 3), incarnation=ward.incarnation["node-0"], node="node-0")
    assert ward.brain.node_states["node-0"].reserved_for == ""


def test_evidence_outlives_the_dispatcher() -> None:
    ward = Ward(2)
    job = ward.submit("r1")
    ward.kill(ward.accept(job))
    ward.crash()
    for node in ward.incarnation:
        ward.ready(node)
    assert (ward.job(job).kills, ward.brain.node_states[ward.job(job).node].reserved_for) == (1, job)
    ward.poll()
    assert error_of(ward.kill(ward.accept(job))).code is Code.POISON_JOB


def test_the_dispatcher_is_told_why_a_node_is_lost_and_whether_its_agent_died() -> None:
    harness = RegistryHarness()
    harness.join()
    pool = PoolBrain("echo/asr=en", 1, PoolRules())
    died = of(harness.brain.agent_died("node-a", 1, "its agent died: x", harness.now_ms), NotifyPool)[0]
    harness.wait(1_000)
    harness.beat(a_beat(incarnation=2))
    silent = of(harness.wait(7_000), NotifyPool)[-1]
    offers = [pool.handle_members(effect.members) for effect in (died, silent)]
    nodes = [offer.nodes[0] for offer in offers if offer]
    assert [(node.status, node.has_died, node.because) for node in nodes] == [
        (NodeStatus.LOST, True, "its agent died: x"),
        (NodeStatus.LOST, False, "silent for 3 s"),
    ]


def test_why_a_node_is_lost_is_told_in_the_attempt() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit("r1")
    harness.offer(a_dead_node(harness.job(job).node, "silent for 3 s", has_died=False), a_node("node-c"))
    assert harness.job(job).attempts[0].why.endswith("the node is lost: silent for 3 s")

"""A drain: when it is over. Drained machines: how long they are remembered."""

from ray_sched.core.messages.registry_pool import MembersVersion
from ray_sched.core.nodes.drains import Drain, DrainedMachines

TOLD = MembersVersion(epoch=7, number=20)
TEN_MINUTES_MS = 600_000


def a_drain() -> Drain:
    return Drain(ends_at_ms=10_000, version=TOLD)


def test_a_drain_is_due_at_its_deadline_and_not_before() -> None:
    assert [a_drain().is_due(now_ms) for now_ms in (9_999, 10_000, 10_001)] == [False, True, True]


def test_a_node_that_was_never_in_a_pool_is_empty_with_its_second_beat() -> None:
    drain = a_drain()
    seen = [drain.may_have_jobs(is_in_pool=False)]
    for _ in range(2):
        drain.handle_heartbeat()
        seen.append(drain.may_have_jobs(is_in_pool=False))
    assert seen == [True, True, False]


def test_a_node_in_a_pool_is_empty_when_the_dispatcher_that_knows_of_the_drain_has_no_job_there() -> None:
    for version, may_have_jobs in (
        (MembersVersion(7, 19), True),
        (MembersVersion(6, 21), True),
        (TOLD, False),
        (MembersVersion(7, 21), False),
        (MembersVersion(8, 1), False),
    ):
        drain = a_drain()
        drain.handle_heartbeat()
        drain.handle_heartbeat()
        drain.handle_acquired(version, 0)
        assert drain.may_have_jobs(is_in_pool=True) is may_have_jobs, version


def test_one_job_there_is_enough_to_wait_for() -> None:
    drain = a_drain()
    drain.handle_heartbeat()
    drain.handle_heartbeat()
    drain.handle_acquired(TOLD, 0)
    drain.handle_acquired(TOLD, 1)
    assert drain.may_have_jobs(is_in_pool=True)


def test_a_drained_machine_is_forgotten_when_ray_has_not_listed_it_for_ten_minutes() -> None:
    drained = DrainedMachines()
    drained.add("a", "ray-1")
    assert drained.forget_absent({"ray-1"}, (), 0) == []
    assert drained.forget_absent((), (), 1_000) == []
    assert drained.forget_absent((), (), 1_000 + TEN_MINUTES_MS - 1) == []
    assert ("a", "ray-1") in drained
    assert drained.forget_absent((), (), 1_000 + TEN_MINUTES_MS) == [("a", "ray-1")]
    assert ("a", "ray-1") not in drained
    assert drained.forget_absent((), (), 2 * TEN_MINUTES_MS) == []


def test_a_drained_machine_that_ray_lists_again_is_remembered_for_another_ten_minutes() -> None:
    drained = DrainedMachines()
    drained.add("a", "ray-1")
    drained.forget_absent((), (), 0)
    drained.forget_absent({"ray-1"}, (), TEN_MINUTES_MS - 1)
    drained.forget_absent((), (), TEN_MINUTES_MS)
    assert drained.forget_absent((), (), 2 * TEN_MINUTES_MS - 1) == []
    assert drained.forget_absent((), (), 2 * TEN_MINUTES_MS) == [("a", "ray-1")]


def test_a_drained_machine_whose_node_is_still_shown_is_remembered() -> None:
    drained = DrainedMachines()
    drained.add("a", "ray-1")
    assert drained.forget_absent((), {"a"}, 0) == []
    assert drained.forget_absent((), {"a"}, TEN_MINUTES_MS) == []
    assert ("a", "ray-1") in drained

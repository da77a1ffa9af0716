"""The Dispatcher's brain while nothing can be saved: nobody is told, so nothing may run out of time for it."""

from ray_sched.core.effects import Save, StoreCameBack, StoreWentAway, SubmitsTakenBack
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.client_dispatcher import Accepted
from ray_sched.core.ports import ForgetJob
from tests.support.builders import Desk, a_node, orders, stopped, where


def test_no_job_is_given_to_a_node_until_it_can_be_saved() -> None:
    desk = Desk()
    job = desk.submit()
    desk.handle(StoreWentAway())
    assert where(desk.offer(a_node("node-a"))) == []
    assert where(desk.handle(StoreCameBack())) == [(job, 1, "node-a")]


def test_an_assignment_of_which_nobody_could_hear_does_not_count_as_a_late_push() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit(deadline_ms=60_000)
    desk.handle(StoreWentAway())
    desk.wait(30_000)
    desk.handle(StoreCameBack())
    desk.wait(1_000)
    assert (desk.status(job), desk.job(job).attempt) == ("assigned", 1)
    desk.run(job)
    assert desk.status(job) == "completed"


def test_a_waiting_job_without_a_deadline_of_its_own_outlives_an_outage() -> None:
    desk = Desk()
    job, hurried = desk.submit("r1"), desk.submit("r2", deadline_ms=5_000)
    desk.handle(StoreWentAway())
    desk.wait(30_000)
    assert (desk.status(job), desk.status(hurried)) == ("pending", "failed")
    desk.handle(StoreCameBack())
    assert where(desk.offer(a_node("node-a"))) == [(job, 1, "node-a")]


def test_a_submit_that_is_taken_back_leaves_its_request_and_its_place_in_the_session() -> None:
    desk = Desk()
    first = desk.submit("r0", session="s")
    for request in ("r1", "r2"):
        desk.submit(request, session="s")
    effects = desk.handle(SubmitsTakenBack("c1", ("r1", "r2", "never heard of")))
    changes = [effect.change for effect in effects if isinstance(effect, Save)]
    assert changes == [ForgetJob(job_id="boot-3"), ForgetJob(job_id="boot-2")]
    assert list(desk.brain.jobs) == [first]
    again = desk.answer("r2", session="s", utterance_index=2)
    assert (isinstance(again, Accepted), again) == (True, Accepted(job_id="boot-4", utterance_index=2))
    assert desk.answer("r1", session="s", utterance_index=1) == Accepted(job_id="boot-5", utterance_index=1)


def test_a_submit_that_is_taken_back_after_it_was_assigned_gives_its_slot_back() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=1))
    job = desk.submit("r1")
    assert orders(desk.handle(SubmitsTakenBack("c1", ("r1",)))) == [StopRun(job_id=job, attempt=1)]
    desk.report(stopped(job))
    assert (desk.free(), desk.spent()) == (1, 0)
    assert desk.submit("r1") != job

"""Waiting jobs: against a model that sorts."""

from collections.abc import Collection
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.job import Job
from ray_sched.core.queue.ahead import ahead_of
from ray_sched.core.queue.waiting import QueueKey, Waiting, cost_ms, job_key
from ray_sched.core.slices import whole
from tests.support.builders import a_spec


def a_job(
    number: int, priority: int = 0, session: str = "", *, client: str = "c1", src: str = "en", tenant: str = ""
) -> Job:
    return Job(
        job_id=f"j{number}",
        client_id=client,
        spec=a_spec(f"r{number}", priority=priority, session=session, src=src, tgt=src, tenant=tenant),
        utterance_index=number if session else None,
        created_at_ms=0,
        number=number,
        audio_ms=4_000,
        deadline_at_ms=10_000,
    )


def heads(jobs: list[Job], paused: Collection[str] = ()) -> list[Job]:
    """Those that may go next: jobs without a session, and the earliest of each session; of clients that answer."""
    first: dict[tuple[str, str], Job] = {}
    for job in jobs:
        first[job.session_key] = min(first.get(job.session_key, job), job, key=lambda one: one.utterance_index or 0)
    able = [job for job in jobs if job.client_id not in paused]
    return [job for job in able if not job.spec.session or first[job.session_key] is job]


def queue_key_of(waiting: Waiting, job: Job) -> QueueKey:
    """The rule, written out."""
    tenant, flow = job.spec.tenant, job.session_key
    priority, deadline_at_ms, number = job_key(job)
    quanta = (waiting.shares.tenant_quanta(tenant), waiting.shares.flow_quanta(tenant, flow))
    return (priority, *quanta, deadline_at_ms, number)


def serve(waiting: Waiting, job: Job) -> None:
    waiting.remove(job)
    waiting.shares.charge(job.spec.tenant, job.session_key, cost_ms(job), is_served=True)


def knows_what_waits(waiting: Waiting, jobs: list[Job], paused: Collection[str]) -> None:
    assert len(waiting) == len(jobs)
    assert all(job.job_id in waiting for job in jobs)
    assert set(waiting.demands()) == {job.demand for job in heads(jobs, paused) if job is not waiting.lone}
    if waiting.lone:
        return
    for client in ("c0", "c1"):
        assert {job.job_id for job in waiting.of_client(client)} == {j.job_id for j in jobs if j.client_id == client}
    for job in jobs:
        assert waiting.shares.waiting(job.spec.tenant, job.session_key) == (
            sum(other.spec.tenant == job.spec.tenant for other in jobs),
            sum((other.spec.tenant, other.session_key) == (job.spec.tenant, job.session_key) for other in jobs),
        )


def pause_or_resume(waiting: Waiting, jobs: list[Job], paused: set[str], client: str) -> None:
    """The client answers no more, or again."""
    assert waiting.is_paused(client) == (client in paused)
    if client in paused:
        paused.discard(client)
        assert {job.job_id for job in waiting.resume(client)} == {job.job_id for job in jobs if job.client_id == client}
    else:
        paused.add(client)
        waiting.pause(client)
    assert waiting.is_paused(client) == (client in paused)


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "next", "next", "remove", "return", "skip", "pause"]),
        st.integers(-1, 1),
        st.sampled_from(["", "s1", "s2"]),
        st.sampled_from(["en", "de"]),
        st.sampled_from(["", "acme"]),
        st.integers(0, 100),
    ),
    max_size=80,
)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_the_head_has_the_smallest_queue_key_and_overtakes_nobody_of_its_session(
    steps: list[tuple[str, int, str, str, str, int]],
) -> None:
    waiting, jobs, gone, paused = Waiting(), list[Job](), list[Job](), set[str]()
    for number, (what, priority, session, src, tenant, n) in enumerate(steps):
        if what == "add":
            jobs.append(a_job(number, priority, session, client=f"c{n % 2}", src=src, tenant=tenant))
            waiting.add(jobs[-1])
        elif what == "return" and gone:
            jobs.append(gone.pop(n % len(gone)))
            waiting.add(jobs[-1])
        elif what == "remove" and jobs:
            gone.append(jobs.pop(n % len(jobs)))
            waiting.remove(gone[-1])
            waiting.remove(gone[-1])  # a second time nothing happens
        elif what == "pause":
            pause_or_resume(waiting, jobs, paused, f"c{n % 2}")
        elif what == "skip" and heads(jobs, paused):
            waiting.settle()
            job = heads(jobs, paused)[n % len(heads(jobs, paused))]
            waiting.skip(job)
            waiting.readmit(job)
        elif what == "next" and waiting.lone and n % 2:
            assert jobs == [waiting.lone]
            gone.append(jobs.pop())
            serve(waiting, gone[-1])
        elif what == "next" and heads(jobs, paused):
            waiting.settle()
            demand = min(waiting.demands(), key=lambda demand: waiting.queue_key(demand) or (2, 0, 0, 0, 0))
            head = waiting.head(demand)
            assert head is not None
            assert head == min(heads(jobs, paused), key=lambda job: queue_key_of(waiting, job))
            assert waiting.queue_key(demand) == queue_key_of(waiting, head)
            serve(waiting, head)
            jobs.remove(head)
            gone.append(head)
        if n % 3 == 0:  # otherwise the only one that waits stays the lone one
            assert waiting.backlog("acme", ("c1", "s1")) == (
                len(jobs),
                sum(job.spec.tenant == "acme" for job in jobs),
                sum((job.spec.tenant, job.session_key) == ("acme", ("c1", "s1")) for job in jobs),
            )
            assert waiting.lone is None
        knows_what_waits(waiting, jobs, paused)


@given(steps)
@settings(max_examples=100, deadline=None)
def test_what_people_are_told_of_the_order_is_what_happens(steps: list[tuple[str, int, str, str, str, int]]) -> None:
    waiting = Waiting()
    for number, (_, priority, session, _, _, n) in enumerate(steps[:30]):
        waiting.add(a_job(number, priority, session, client=f"c{n % 3}"))
    if not len(waiting):
        return
    waiting.settle()
    (demand,) = waiting.demands()
    jobs = waiting.all()
    foretold = sorted(jobs, key=lambda job: len(whole(ahead_of(waiting, job, lambda _demand: True))))
    served = []
    while (job := waiting.head(demand)) is not None:
        served.append(job)
        serve(waiting, job)
    assert served == foretold


def test_a_lone_job_is_in_no_queue_until_it_is_settled_or_a_second_one_comes() -> None:
    waiting, demand = Waiting(), a_spec().demand()
    lone = a_job(1)
    waiting.add(lone)
    assert (waiting.lone, len(waiting), waiting.head(demand)) == (lone, 1, None)
    waiting.settle()
    assert (waiting.lone, len(waiting), waiting.head(demand)) == (None, 1, lone)
    waiting.remove(lone)
    waiting.add(lone)
    waiting.add(a_job(2))
    assert (waiting.lone, len(waiting), waiting.head(demand)) == (None, 2, lone)


def test_a_lone_job_that_waits_no_more_leaves_nothing_behind() -> None:
    waiting = Waiting()
    waiting.add(a_job(1))
    waiting.remove(a_job(2))
    assert len(waiting) == 1
    lone = a_job(3)
    waiting = Waiting()
    waiting.add(lone)
    waiting.remove(lone)
    waiting.settle()
    assert (waiting.lone, len(waiting), waiting.demands(), "j3" in waiting) == (None, 0, [], False)


def test_a_lone_job_is_among_those_that_its_client_waits_for_and_among_those_people_see() -> None:
    for look in (partial(Waiting.of_client, client_id="c1"), Waiting.all):
        waiting, lone = Waiting(), a_job(1)
        waiting.add(lone)
        assert "j1" in waiting
        assert look(waiting) == [lone]


def test_a_job_that_was_skipped_lets_those_behind_it_pass_and_is_the_head_again_when_it_is_readmitted() -> None:
    waiting, demand = Waiting(), a_spec().demand()
    first, second = a_job(1), a_job(2)
    waiting.add(first)
    waiting.add(second)
    waiting.skip(first)
    assert (waiting.head(demand), len(waiting)) == (second, 2)
    waiting.readmit(first)
    assert waiting.head(demand) == first


def test_nobody_waits_for_a_demand_that_nobody_has() -> None:
    waiting = Waiting()
    demand = a_spec().demand()
    assert (waiting.head(demand), waiting.queue_key(demand), waiting.all(), waiting.demands()) == (None, None, [], [])


def test_who_submits_and_cancels_all_day_leaves_nothing_behind() -> None:
    waiting = Waiting()
    waiting.add(a_job(0, priority=1, session="s0"))
    for number in range(1, 2_000):
        job = a_job(number, priority=number % 1_000, session="s1" if number % 2 else "", client="c2")
        waiting.add(job)
        waiting.remove(job)
    queue = waiting._queues[a_spec().demand()]
    assert len(queue._flows._heap) <= 70
    assert len(waiting.shares._flows[""]) <= 2

"""Waiting jobs: against a model that sorts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.job import Job
from ray_sched.core.queue.waiting import Turn, Waiting, cost_ms, flow_of, order_of
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


def standing(jobs: list[Job]) -> list[Job]:
    """Those that may go next: jobs without a session, and the earliest of each session."""
    first: dict[tuple[str, str], Job] = {}
    for job in jobs:
        first[flow_of(job)] = min(first.get(flow_of(job), job), job, key=lambda one: one.utterance_index or 0)
    return [job for job in jobs if not job.spec.session or first[flow_of(job)] is job]


def turn_of(waiting: Waiting, job: Job) -> Turn:
    """The rule, written out."""
    tenant, flow = job.spec.tenant, flow_of(job)
    priority, deadline_at_ms, number = order_of(job)
    turns = (waiting.shares.turn_of_tenant(tenant), waiting.shares.turn_of_flow(tenant, flow))
    return (priority, *turns, deadline_at_ms, number)


def serve(waiting: Waiting, job: Job) -> None:
    waiting.remove(job)
    waiting.shares.charge(job.spec.tenant, flow_of(job), cost_ms(job), is_served=True)


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "next", "next", "remove", "return", "aside"]),
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
def test_the_next_one_is_whose_turn_it_is_and_overtakes_nobody_of_its_session(
    steps: list[tuple[str, int, str, str, str, int]],
) -> None:
    waiting, jobs, gone = Waiting(), list[Job](), list[Job]()
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
            waiting.remove(gone[-1])
        elif what == "aside" and jobs:
            job = standing(jobs)[n % len(standing(jobs))]
            waiting.step_aside(job)
            waiting.step_back(job)
        elif what == "next" and jobs:
            demand = min(waiting.demands(), key=lambda demand: waiting.turn(demand) or (2, 0, 0, 0, 0))
            head = waiting.first(demand)
            assert head is not None
            assert head == min(standing(jobs), key=lambda job: turn_of(waiting, job))
            assert waiting.turn(demand) == turn_of(waiting, head)
            serve(waiting, head)
            jobs.remove(head)
            gone.append(head)
        assert len(waiting) == len(jobs)
        assert all(job.job_id in waiting for job in jobs)
        assert set(waiting.demands()) == {job.demand for job in standing(jobs)}
        for client in ("c0", "c1"):
            assert {job.job_id for job in waiting.of_client(client)} == {
                j.job_id for j in jobs if j.client_id == client
            }
        for job in jobs:
            assert waiting.shares.waiting(job.spec.tenant, flow_of(job)) == (
                sum(other.spec.tenant == job.spec.tenant for other in jobs),
                sum((other.spec.tenant, flow_of(other)) == (job.spec.tenant, flow_of(job)) for other in jobs),
            )


@given(steps)
@settings(max_examples=100, deadline=None)
def test_what_people_are_told_of_the_order_is_what_happens(steps: list[tuple[str, int, str, str, str, int]]) -> None:
    waiting = Waiting()
    for number, (_, priority, session, _, _, n) in enumerate(steps[:30]):
        waiting.add(a_job(number, priority, session, client=f"c{n % 3}"))
    if not len(waiting):
        return
    (demand,) = waiting.demands()
    foretold = list(waiting.in_turn(demand))
    served = []
    while (job := waiting.first(demand)) is not None:
        served.append(job)
        serve(waiting, job)
    assert served == foretold


def test_nobody_waits_for_a_demand_that_nobody_has() -> None:
    waiting = Waiting()
    demand = a_spec().demand()
    assert (waiting.first(demand), waiting.turn(demand), list(waiting.in_turn(demand)), waiting.demands()) == (
        None,
        None,
        [],
        [],
    )


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

"""Waiting jobs: against a model that sorts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.job import Job
from ray_sched.core.waiting import Waiting, order_of
from tests.support.builders import a_spec


def a_job(number: int, priority: int, session: str, index: int, src: str) -> Job:
    return Job(
        job_id=f"j{number}",
        client_id="c1",
        spec=a_spec(f"r{number}", priority=priority, session=session, src=src, tgt=src),
        utterance_index=index if session else None,
        created_at_ms=0,
        number=number,
        deadline_at_ms=10_000,
    )


def standing(jobs: list[Job]) -> list[Job]:
    """Those that may go next: jobs without a session, and the earliest of each session."""
    first: dict[str, Job] = {}
    for job in jobs:
        if job.spec.session:
            first[job.spec.session] = min(
                first.get(job.spec.session, job), job, key=lambda one: one.utterance_index or 0
            )
    return [job for job in jobs if not job.spec.session or first[job.spec.session] is job]


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "next", "remove", "return"]),
        st.integers(-1, 1),
        st.sampled_from(["", "s1", "s2"]),
        st.sampled_from(["en", "de"]),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=200, deadline=None)
def test_the_next_of_a_demand_is_the_most_urgent_that_overtakes_nobody_of_its_session(
    steps: list[tuple[str, int, str, str, int]],
) -> None:
    waiting, jobs, gone = Waiting(), list[Job](), list[Job]()
    for number, (what, priority, session, src, n) in enumerate(steps):
        if what == "add":
            jobs.append(a_job(number, priority, session, number, src))
            waiting.add(jobs[-1])
        elif what == "return" and gone:
            jobs.append(gone.pop(n % len(gone)))
            waiting.add(jobs[-1])
        elif what == "remove" and jobs:
            gone.append(jobs.pop(n % len(jobs)))
            waiting.remove(gone[-1])
            waiting.remove(gone[-1])
        elif what == "next" and jobs:
            order, demand = min(waiting.heads())
            head = waiting.head(demand)
            assert head is not None
            assert (head, order) == (min(standing(jobs), key=order_of), order_of(head))
            waiting.remove(head)
            jobs.remove(head)
            gone.append(head)
        assert len(waiting) == len(jobs)
        assert all(job.job_id in waiting for job in jobs)
        for name in ("s1", "s2"):
            assert waiting.in_session(("c1", name)) == sum(job.spec.session == name for job in jobs)
        for demand in {job.demand for job in jobs}:
            mine = [job for job in standing(jobs) if job.demand == demand]
            assert list(waiting.in_order(demand)) == sorted(mine, key=order_of)


def test_nobody_waits_for_a_demand_that_nobody_has() -> None:
    waiting = Waiting()
    demand = a_spec().demand()
    assert (waiting.head(demand), waiting.head_order(demand), list(waiting.in_order(demand)), waiting.heads()) == (
        None,
        None,
        [],
        [],
    )

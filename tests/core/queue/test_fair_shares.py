"""Fair shares: nobody starves, whatever the others do."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import Assigned, Refused, Submit
from ray_sched.core.queue.fair_shares import MAX_LAG_MS, MAX_REMEMBERED, QUANTUM_MS, FairShares, Shares
from ray_sched.core.rules import DispatchRules
from ray_sched.core.views.explain import explain
from tests.support.builders import DispatchHarness, a_node, a_spec, accepted, answers, finished, told

A, B = ("a",), ("b",)


class Shop(DispatchHarness):
    """A harness with one node whose slots are always busy; time does not pass."""

    def __init__(self, slots: int = 1, rules: DispatchRules | None = None) -> None:
        super().__init__(rules)
        self.offer(a_node("node-a", slots=slots))
        for n in range(slots):
            self.submit(f"first-{n}", client="c0", priority=1_000)

    def serve(self, n_jobs: int, audio_ms: int | None = None) -> list[str]:
        """So many jobs that run end, one after the other; the jobs that are assigned instead."""
        assigned: list[str] = []
        for _ in range(n_jobs):
            job, attempt = self.brain.node_states["node-a"].attempts()[0]
            self.report(accepted(job, attempt, audio_ms or self.job(job).audio_ms))
            effects = self.report(finished(job, attempt))
            for client in ("c0", "c1", "c2", "c3"):
                assigned += [event.job_id for event in told(effects, Assigned, client)]
        return assigned

    def fill(self, n_jobs: int, name: str, *, client: str = "c1", **changes: object) -> None:
        """So many jobs of one flow wait."""
        before = len(self.brain.jobs)
        specs = [a_spec(f"{name}-{before + n}", name=name, **changes) for n in range(n_jobs)]
        said = answers(self.send(*(Submit(spec=spec) for spec in specs), client=client))
        assert not any(isinstance(answer, Refused) for answer in said)

    def who(self, jobs: list[str]) -> Counter[str]:
        return Counter(self.job(job).spec.name for job in jobs)


def test_a_greedy_session_does_not_keep_another_one_waiting() -> None:
    shop = Shop()
    shop.fill(100, "greedy", session="s1")
    shop.serve(30)
    shop.fill(20, "modest", session="s2")
    assert shop.who(shop.serve(40)) == {"greedy": 20, "modest": 20}


def test_a_greedy_client_without_sessions_is_one_flow_beside_the_sessions_of_another() -> None:
    shop = Shop()
    shop.fill(200, "greedy", client="c1")
    shop.fill(40, "modest", client="c2", session="s")
    assert shop.who(shop.serve(60)) == {"greedy": 30, "modest": 30}


def test_tenants_share_alike_however_many_sessions_one_of_them_has() -> None:
    shop = Shop()
    for n in range(10):
        shop.fill(30, "crowd", client="c1", session=f"s{n}", tenant="acme")
    shop.fill(100, "alone", client="c2", session="s", tenant="zeta")
    assert shop.who(shop.serve(100)) == {"crowd": 50, "alone": 50}


def test_shares_are_of_audio_not_of_jobs() -> None:
    shop = Shop()
    shop.fill(100, "long", session="s1", audio_ms=8_000)
    shop.fill(100, "short", session="s2", audio_ms=2_000)
    served = shop.who(shop.serve(100))
    assert served["short"] == pytest.approx(80, abs=5)


def test_whoever_declares_nothing_is_charged_what_the_node_measured() -> None:
    shop = Shop()
    shop.fill(100, "sly", session="s1", audio_ms=0)
    shop.fill(100, "honest", session="s2", audio_ms=10_000)
    assert shop.who(shop.serve(60, audio_ms=10_000))["sly"] == pytest.approx(30, abs=3)


def test_priority_goes_before_fairness_and_deadline_after_it() -> None:
    shop = Shop()
    shop.fill(30, "greedy", session="s1")
    shop.serve(25)
    shop.fill(1, "late", client="c2", deadline_ms=9_000)
    shop.fill(1, "soon", client="c3", deadline_ms=5_000)
    shop.fill(1, "urgent", session="s1", priority=1)  # of the greedy session: it does not overtake itself
    shop.fill(1, "first", client="c1", priority=1)
    names = [shop.job(job).spec.name for job in shop.serve(3)]
    assert names == ["first", "soon", "late"]


def test_who_was_away_does_not_come_back_with_saved_up_time() -> None:
    shop = Shop()
    shop.fill(200, "steady", session="s1")
    shop.fill(1, "guest", session="s2")
    shop.serve(100)
    shop.fill(100, "guest", session="s2")
    assert shop.who(shop.serve(40))["guest"] == pytest.approx(20, abs=10)


def test_who_pauses_for_a_moment_has_still_had_what_it_had() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    shares.begin(B)
    shares.charge(A, 100_000, is_served=True)
    shares.end(A)
    shares.begin(A)
    assert (shares.virtual_ms(A), shares.virtual_ms(B)) == (100_000, 0)


def test_who_was_kept_waiting_for_hours_catches_up_with_a_minute() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    shares.begin(B)
    for _ in range(100):
        shares.charge(A, 100_000, is_served=True)
    shares.charge(B, 1_000, is_served=True)
    assert shares.virtual_ms(B) == 99 * 100_000 - MAX_LAG_MS + 1_000


def test_only_those_that_had_most_are_remembered_and_nobody_once_nobody_waits() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    for n in range(MAX_REMEMBERED + 500):
        key = (str(n),)
        shares.begin(key)
        shares.charge(key, n + 1, is_served=True)
        shares.end(key)
    assert len(shares) == MAX_REMEMBERED + 1
    assert (shares.virtual_ms(("0",)), shares.virtual_ms(("600",))) == (0, 601)
    shares.end(A)
    assert len(shares) == 0


def test_who_begins_to_wait_starts_where_the_last_one_served_began() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    shares.charge(A, 10_000, is_served=True)
    assert (shares.virtual_ms(A), shares.virtual_ms(B)) == (10_000, 0)
    shares.charge(A, 5_000, is_served=True)
    shares.begin(B)
    assert (shares.virtual_ms(A), shares.virtual_ms(B), shares.virtual_ms(("new",))) == (15_000, 10_000, 10_000)
    shares.begin(B)
    assert (shares.waiting(A), shares.waiting(B), shares.waiting(("new",))) == (1, 2, 0)


def test_what_is_charged_after_the_measuring_does_not_move_the_clock() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    shares.charge(A, 10_000, is_served=True)
    shares.charge(A, 3_000, is_served=False)
    shares.charge(B, 4_000, is_served=False)
    assert (shares.virtual_ms(A), shares.virtual_ms(B), shares.virtual_ms(("new",))) == (13_000, 4_000, 0)


def test_who_waits_no_more_is_remembered_while_it_is_ahead_of_the_clock() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.begin(A)
    shares.charge(B, 4_000, is_served=False)
    shares.charge(("c",), 9_000, is_served=False)
    assert len(shares) == 3
    shares.charge(A, 4_000, is_served=True)
    shares.charge(A, 4_000, is_served=True)
    shares.charge(("d",), 2_000, is_served=False)
    assert (len(shares), shares.virtual_ms(B), shares.virtual_ms(("c",)), shares.virtual_ms(("d",))) == (
        3,
        4_000,
        9_000,
        6_000,
    )


def test_when_nobody_waits_nothing_is_charged_and_all_is_forgotten() -> None:
    shares: Shares[tuple[str]] = Shares()
    shares.charge(A, 4_000, is_served=True)
    assert (len(shares), shares.virtual_ms(A)) == (0, 0)
    shares.begin(A)
    shares.charge(A, 4_000, is_served=True)
    shares.charge(A, 4_000, is_served=True)
    shares.charge(B, 4_000, is_served=False)
    shares.end(A)
    assert (len(shares), shares.waiting(A), shares.virtual_ms(A), shares.virtual_ms(B)) == (0, 0, 0, 0)


def test_the_virtual_times_of_a_tenant_and_of_its_flows_are_counted_in_whole_quanta() -> None:
    shares, flow, other = FairShares(), ("c1", "s"), ("c1", "other")
    assert (shares.tenant_quanta("t"), shares.flow_quanta("t", flow), shares.waiting("t", flow)) == (0, 0, (0, 0))
    shares.begin("t", flow)
    shares.begin("t", other)
    shares.charge("t", flow, 19_999, is_served=True)
    assert (shares.tenant_quanta("t"), shares.flow_quanta("t", flow), shares.flow_quanta("t", other)) == (1, 1, 0)
    shares.charge("t", other, 1, is_served=True)
    assert (shares.tenant_quanta("t"), shares.flow_quanta("t", flow), shares.virtual_ms("t", other)) == (2, 1, 1)
    assert (shares.waiting("t", flow), shares.waiting("u", flow)) == ((2, 1), (0, 0))
    shares.end("t", flow)
    assert (shares.waiting("t", flow), shares.waiting("t", other)) == ((1, 0), (1, 1))
    shares.end("t", other)
    assert (shares.waiting("t", other), shares.virtual_ms("t", flow)) == ((0, 0), 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(500, 30_000), st.integers(1, 12)),
        min_size=4,
        max_size=40,
    )
)
@settings(max_examples=60, deadline=None)
def test_between_two_that_both_wait_all_the_time_the_difference_stays_small(
    batches: list[tuple[int, int, int, int]],
) -> None:
    """Start-time fair queueing: within a quantum and one job of each."""
    shop = Shop(rules=DispatchRules(pending_timeout_ms=10_000_000))
    for number, (client, session, audio_ms, n_jobs) in enumerate(batches):
        shop.fill(n_jobs, f"{number}", client=f"c{client}", session=f"s{session}", audio_ms=audio_ms)
    shop.fill(100, "one", client="c1", session="one", audio_ms=4_000)
    shop.fill(100, "two", client="c2", session="two", audio_ms=9_000)
    for _ in range(20):
        shop.serve(3)
        virtual_ms = [shop.brain.waiting.shares.virtual_ms("", flow) for flow in (("c1", "one"), ("c2", "two"))]
        assert abs(virtual_ms[0] - virtual_ms[1]) <= QUANTUM_MS + 9_000


# --- admission ----------------------------------------------------------------------------------------------------


def test_a_greedy_client_that_fills_the_queue_leaves_room_for_everybody_else() -> None:
    shop = Shop(rules=DispatchRules(max_waiting_jobs=1_000, max_waiting_jobs_per_session=1_000))
    specs = [Submit(spec=a_spec(f"r{n}", tenant="acme")) for n in range(2_000)]
    taken = sum(not isinstance(answer, Refused) for answer in answers(shop.send(*specs)))
    assert taken == 1_000 - 2 * 31
    refusal = shop.refusal("r2000", tenant="acme")
    assert (refusal.code, refusal.retry_after_ms) == (Code.OVERLOADED, 1_000)
    assert "the room left is for others" in refusal.message
    for n in range(10):
        shop.submit(f"own-{n}", client="c2", session="s", tenant="acme")
        shop.submit(f"other-{n}", client="c3", tenant="zeta")


def test_when_a_hundred_are_greedy_the_next_place_is_for_whoever_has_nothing_waiting() -> None:
    shop = Shop(rules=DispatchRules(max_waiting_jobs=1_000))
    for n in range(100):
        shop.send(*(Submit(spec=a_spec(f"r{n}-{k}", session=f"s{n}")) for k in range(200)))
    shop.submit("stranger", client="c3", tenant="zeta")
    shop.serve(2)
    assert shop.refusal("more", session="s0").code is Code.OVERLOADED
    shop.submit("modest", client="c2")


def test_a_refusal_names_whose_share_is_full() -> None:
    shop = Shop(rules=DispatchRules(max_waiting_jobs=1_000, max_waiting_jobs_per_session=1_000))
    shop.send(*(Submit(spec=a_spec(f"r{n}", session="s")) for n in range(1_000)))
    assert "jobs of session 's' wait already; the room left is for others" in shop.refusal("x", session="s").message


def test_a_waiting_job_is_told_truly_how_many_come_first() -> None:
    shop = Shop()
    shop.fill(50, "greedy", client="c1")
    shop.fill(3, "modest", client="c2")
    last = next(job.job_id for job in shop.brain.jobs.values() if job.spec.request_id == "modest-53")
    told = explain(shop.brain, last, shop.now_ms)
    assert told.ahead is not None
    assert f"{told.ahead} jobs come first" in told.summary
    assert shop.serve(told.ahead + 1)[-1] == last

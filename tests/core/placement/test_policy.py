"""Selection: filter, score, pick, explain."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.leases.lease import LeaseError
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import Question, select
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.reasons import SENTENCE, Reason
from ray_sched.core.rules import SelectionRules
from tests.support.builders import EN_ES, ENGLISH

RULES = SelectionRules()


def a_node_state(node: str = "node-a", slots: int = 2, capability: Capability = ENGLISH) -> NodeState:
    node_state = NodeState(node, 1, capability)
    node_state.why = None
    node_state.lease(slots, 10_000)
    return node_state


def a_question(now_ms: int = 0, speeds: SpeedBook | None = None, **changes: object) -> Question:
    demand = Demand(src="en", tgt="en", services=("asr",))
    facts: dict[str, object] = {"demand": demand, "pair": demand.pair, "audio_ms": 1_000, "now_ms": now_ms}
    facts |= {"rules": RULES, "speeds": speeds or SpeedBook(RULES), "tie_key": "j1/1"}
    return Question(**(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("demand", "lacks"),
    [
        (Demand(src="en", tgt="es", services=("asr", "mt", "tts")), None),
        (Demand(src="es", tgt="en", services=("asr", "mt")), Reason.ASR_LANG_UNSUPPORTED),
        (Demand(src="en", tgt="fr", services=("asr", "mt")), Reason.LANG_PAIR_UNSUPPORTED),
        (Demand(src="en", tgt="en", services=("asr", "tts")), Reason.TTS_LANG_UNSUPPORTED),
        (Demand(src="en", tgt="en", services=("asr",), needs_gpu=True), Reason.GPU_REQUIRED),
        (Demand(src="en", tgt="en", services=("asr",), tenant="acme"), None),
    ],
)
def test_a_capability_covers_a_demand_or_lacks_something(demand: Demand, lacks: Reason | None) -> None:
    assert uncovered(demand, EN_ES) is lacks


def test_any_stands_for_every_language_on_its_side_of_a_pair() -> None:
    into_english = Capability(engine="x", mt=("any:en",))
    assert into_english.translates("de", "en")
    assert not into_english.translates("en", "de")
    assert Capability(engine="x", mt=("any:any",)).translates("a", "b")


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCE) == set(Reason)


def test_every_node_that_is_passed_over_has_its_reason() -> None:
    full, late, resting, tired, modelless = (
        a_node_state(name) for name in ("full", "late", "resting", "tired", "modelless")
    )
    full.acquire(("x", 1), 0)
    full.acquire(("y", 1), 0)
    late.term_ends_at_ms = 5
    resting.resting_until_ms = 6
    tired.quarantined_until_ms = 6
    modelless.unavailable_until_ms["asr"] = 6
    other = a_node_state("other", capability=Capability(engine="echo", asr=("de",)))
    found, reasons = select([full, late, resting, tired, modelless, other], a_question(now_ms=5))
    assert found is None
    assert reasons == {
        "full": Reason.CAPACITY_FULL,
        "late": Reason.NOT_READY,
        "resting": Reason.REFUSED_LATELY,
        "tired": Reason.QUARANTINED,
        "modelless": Reason.SERVICE_UNAVAILABLE,
        "other": Reason.ASR_LANG_UNSUPPORTED,
    }


def test_the_failed_node_is_excluded_only_while_another_could_do_it_at_all() -> None:
    alone = a_node_state("node-a")
    assert select([alone], a_question(excluded_node="node-a"))[0] is alone
    full = a_node_state("node-b", slots=0)
    assert select([alone, full], a_question(excluded_node="node-a"))[0] is None


def test_ties_are_broken_by_the_job_and_always_the_same_way() -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(4)]
    picked = [select(node_states, a_question(tie_key=f"j{n}/1"))[0] for n in range(100)]
    assert picked == [select(node_states, a_question(tie_key=f"j{n}/1"))[0] for n in range(100)]
    assert len({node_state.node for node_state in picked if node_state}) == 4


def test_the_session_s_node_counts_as_a_fifth_faster_and_no_more() -> None:
    mine, other = a_node_state("mine"), a_node_state("other")
    mine.acquire(("x", 1), 240)
    assert select([mine, other], a_question(affine_node="mine"))[0] is mine
    mine.release(("x", 1))
    mine.acquire(("x", 1), 260)
    assert select([mine, other], a_question(affine_node="mine"))[0] is other


def test_a_job_keeps_the_company_of_the_one_before_it_while_that_costs_little_time() -> None:
    speeds = SpeedBook(RULES)
    speeds.learn("a", "en:en", 1_000, 1)
    speeds.learn("b", "en:en", 1_000, 1)
    a, b = a_node_state("a", slots=64), a_node_state("b", slots=64)
    went = []
    for number in range(22):
        node_state, _ = select([a, b], a_question(speeds=speeds, colocated_node="a", tie_key=f"j{number}/1"))
        assert node_state is not None
        node_state.acquire((f"j{number}", 1), 1_000)
        went.append(node_state.node)
    assert went == ["a"] * 21 + ["b"], "a millisecond each, 20 ms are allowed"


def test_company_never_outweighs_a_job_that_takes_its_time() -> None:
    a, b = a_node_state("a"), a_node_state("b")
    a.acquire(("x", 1), 1_000)
    assert select([a, b], a_question(colocated_node="a"))[0] is b


def test_speed_is_learned_per_node_and_pair_and_a_stranger_is_assumed_average() -> None:
    book = SpeedBook(RULES)
    assert book.speed("a", "en:en") == 1.0
    book.learn("a", "en:en", 10_000, 1_000)
    assert (book.speed("a", "en:en"), book.speed("b", "en:en"), book.speed("a", "en:es")) == (10.0, 10.0, 1.0)
    book.learn("a", "en:en", 20_000, 1_000)
    assert book.speed("a", "en:en") == pytest.approx(12.0)
    book.learn("a", "en:en", 0, 1_000)
    assert book.of_node("a") == {"en:en": pytest.approx(12.0)}
    assert book.take_unsaved() == {"a": {"en:en": pytest.approx(12.0)}}
    assert book.take_unsaved() == {}
    book.forget_all_but({"b"})
    assert book.of_node("a") == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(["lease", "revoke", "expire", "spend", "spend", "return"]), st.integers(0, 5)),
        max_size=60,
    )
)
@settings(max_examples=200, deadline=None)
def test_a_seat_is_never_oversold_and_never_loses_a_slot(steps: list[tuple[str, int]]) -> None:
    """``never_oversold`` for one node, whatever the pool and the jobs do."""
    node_state = NodeState("node-a", 1, ENGLISH)
    offered = 0
    for number, (what, n) in enumerate(steps):
        if what == "lease":
            offered = 4
            node_state.lease(4, number + 5)
        elif what == "revoke":
            offered = 0
            node_state.lease(0, number + 5)
        elif what == "expire":
            node_state.expire(number)
            offered = offered if number < node_state.term_ends_at_ms else 0
        elif what == "spend" and node_state.n_free:
            node_state.acquire((f"j{number}", 1), 10)
        elif what == "return" and node_state.attempts():
            attempt = node_state.attempts()[n % node_state.n_acquired]
            assert node_state.release(attempt)
            assert not node_state.release(attempt)
        assert node_state.n_acquired <= 4
        assert node_state.n_free == max(0, offered - node_state.n_acquired)
        assert node_state.in_flight_ms == 10 * node_state.n_acquired


def test_a_seat_without_a_free_slot_cannot_be_spent() -> None:
    node_state = a_node_state(slots=1)
    node_state.acquire(("x", 1), 0)
    with pytest.raises((IndexError, LeaseError)):
        node_state.acquire(("y", 1), 0)
    assert (node_state.n_free, node_state.attempts()) == (0, [("x", 1)])


def test_speeds_that_were_learned_are_saved_once_and_loaded_behind_what_was_learned_since() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 2_000, 1_000)
    assert (book.take_unsaved(), book.take_unsaved()) == ({"a": {"en:en": 2.0}}, {})
    after = SpeedBook(RULES)
    after.learn("b", "en:en", 4_000, 1_000)
    after.load({"a": {"en:en": 2.0}, "b": {"en:en": 9.0}})
    assert (after.speed("a", "en:en"), after.speed("b", "en:en")) == (2.0, 4.0)

"""Groups of seats: the choice among many, and what it costs."""

import random
from collections.abc import Callable

import pytest

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.groups import EXACT, SAMPLE, Groups
from ray_sched.core.messages import Assigned
from ray_sched.core.rules import SelectionRules
from ray_sched.core.selection import Question, Seat, SpeedBook, score
from ray_sched.core.waiting import Turn
from tests.support.builders import ENGLISH, Desk, a_node, told

DEMAND = Demand(src="en", tgt="en", services=("asr",))
RULES = SelectionRules()


def nobody(_demand: Demand) -> Turn | None:
    return None


def a_question(number: int, **changes: object) -> Question:
    facts: dict[str, object] = {"demand": DEMAND, "pair": "en:en", "audio_ms": 1_000, "now_ms": 0, "rules": RULES}
    facts |= {"speeds": SpeedBook(RULES), "tie_key": f"j{number}/1"}
    return Question(**(facts | changes))  # type: ignore[arg-type]


def a_room(n_seats: int, busy_ms: Callable[[int], int], capability: Capability = ENGLISH) -> tuple[Groups, list[Seat]]:
    groups = Groups(nobody, list)
    seats = []
    for n in range(n_seats):
        seat = Seat(f"node-{n}", 1, capability)
        seat.why = None
        groups.add(seat)
        seat.lease(2, 10_000)
        if busy_ms(n):
            seat.spend((f"other-{n}", 1), busy_ms(n))
        seats.append(seat)
    return groups, seats


def test_among_a_few_free_seats_the_very_best_is_taken() -> None:
    rng = random.Random(1)  # noqa: S311  # the same loads every time
    groups, seats = a_room(EXACT, lambda _n: rng.randint(1, 60_000))
    best = min(seats, key=lambda seat: score(seat, a_question(0)))
    assert {groups.pick(a_question(n)) for n in range(50)} == {best}


def test_among_a_thousand_the_choice_is_a_good_one_and_the_same_every_time() -> None:
    rng = random.Random(1)  # noqa: S311  # the same loads every time
    groups, seats = a_room(1_000, lambda _n: rng.randint(1, 60_000))
    order = sorted(seats, key=lambda seat: score(seat, a_question(0)))
    picked = [groups.pick(a_question(n)) for n in range(500)]
    ranks = [order.index(seat) for seat in picked if seat]
    assert sum(ranks) / 500 == pytest.approx(1_000 / (SAMPLE + 1), rel=0.25)
    assert picked == [groups.pick(a_question(n)) for n in range(500)]


def test_a_session_finds_its_own_node_among_a_thousand() -> None:
    groups, seats = a_room(1_000, lambda _n: 0)
    assert {groups.pick(a_question(n, affine_node="node-700")) for n in range(50)} == {seats[700]}


def test_company_is_found_among_a_thousand() -> None:
    groups, seats = a_room(1_000, lambda _number: 0)
    assert groups.pick(a_question(7, company_node=seats[613].node)) is seats[613]


def test_the_one_node_that_is_willing_is_found_among_a_thousand() -> None:
    groups, seats = a_room(1_000, lambda _n: 0)
    for seat in seats:
        seat.resting_until_ms = 0 if seat.node == "node-3" else 50
    assert groups.pick(a_question(1)) is seats[3]
    seats[3].resting_until_ms = 50
    assert groups.pick(a_question(1)) is None


def test_seats_come_and_go_and_only_free_ones_are_picked() -> None:
    groups, seats = a_room(40, lambda _n: 0)
    for seat in seats[:39]:
        seat.spend(("x", 1), 0)
        seat.spend(("y", 1), 0)
    assert groups.pick(a_question(1)) is seats[39]
    groups.remove(seats[39])
    assert groups.pick(a_question(1)) is None
    seats[5].give_back(("x", 1))
    assert groups.pick(a_question(1)) is seats[5]
    assert sum(group.n_leased for group in groups) == 78


def test_a_slot_that_becomes_free_goes_to_whose_turn_it_is_among_all_demands_it_can_serve() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=1), capability=Capability(engine="echo", asr=("de", "en")))
    desk.submit("r0")
    english = desk.submit("r1")
    german = desk.submit("r2", src="de", tgt="de", priority=1)
    desk.submit("r3", src="fr", tgt="fr", priority=2)
    assert told(desk.run("boot-1"), Assigned)[0].job_id == german
    assert told(desk.run(german), Assigned)[0].job_id == english


def test_a_node_that_learns_a_language_serves_those_who_wait_for_it() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    german = desk.submit("r1", src="de", tgt="de")
    desk.offer(a_node("node-a"), capability=Capability(engine="echo", asr=("de", "en")))
    assert desk.job(german).node == "node-a"

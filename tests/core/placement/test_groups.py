"""Groups of seats: the choice among many, and what it costs."""

import random
from collections.abc import Callable

import pytest

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.messages.client_dispatcher import Assigned
from ray_sched.core.placement.groups import EXACT, SAMPLE, Groups
from ray_sched.core.placement.node_state import Seat
from ray_sched.core.placement.policy import Question, score
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.queue.waiting import Turn
from ray_sched.core.rules import SelectionRules
from tests.support.builders import ENGLISH, Desk, a_node, told

DEMAND = Demand(src="en", tgt="en", services=("asr",))
RULES = SelectionRules()


def nobody(_demand: Demand) -> Turn | None:
    return None


def a_question(number: int, **changes: object) -> Question:
    facts: dict[str, object] = {"demand": DEMAND, "pair": "en:en", "audio_ms": 1_000, "now_ms": 0, "rules": RULES}
    facts |= {"speeds": SpeedBook(RULES), "tie_key": f"j{number}/1"}
    return Question(**(facts | changes))  # type: ignore[arg-type]


def a_seat(node: str, capability: Capability) -> Seat:
    seat = Seat(node, 1, capability)
    seat.why = None
    return seat


def a_room(n_seats: int, busy_ms: Callable[[int], int], capability: Capability = ENGLISH) -> tuple[Groups, list[Seat]]:
    groups = Groups(nobody, list)
    seats = []
    for n in range(n_seats):
        seat = a_seat(f"node-{n}", capability)
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
    assert groups.n_leased == 78


@pytest.mark.parametrize("seed", range(20))
def test_the_next_demand_is_the_first_of_all_for_which_any_seat_is_free(seed: int) -> None:
    """Seats come, go, fill and empty, demands come and grow old: the answer is always that of looking at everything."""
    rng = random.Random(seed)  # noqa: S311  # the same every time
    languages = ("de", "en", "es", "fr")
    turns: dict[Demand, Turn] = {}
    groups = Groups(turns.get, lambda: list(turns))
    seats: list[Seat] = []
    for number in range(400):
        demand = Demand(src=(language := rng.choice(languages)), tgt=language, services=("asr",))
        match rng.choice(("come", "go", "fill", "empty", "empty", "wait", "wait", "serve", "serve")):
            case "come":
                asr = tuple(sorted(rng.sample(languages, rng.randint(1, 3))))
                seats.append(a_seat(f"node-{number}", Capability(engine="echo", asr=asr)))
                groups.add(seats[-1])
                seats[-1].lease(rng.randint(0, 2), 10_000)
            case "go" if seats:
                groups.remove(seats.pop(rng.randrange(len(seats))))
            case "fill" if free := [seat for seat in seats if seat.n_free]:
                rng.choice(free).spend((f"job-{number}", 1), 0)
            case "empty" if full := [seat for seat in seats if seat.n_spent]:
                (seat := rng.choice(full)).give_back(seat.attempts()[0])
            case "wait":
                turns[demand] = min(turns.get(demand, (9, 0, 0, 0, 0)), (0, 0, 0, rng.randint(0, 9), number))
                groups.want(demand)
            case "serve" if (served := groups.next_demand()) and rng.random() < 0.5:
                del turns[served]
            case "serve" if served:
                turns[served] = (0, 0, 0, turns[served][3] + rng.randint(0, 9), number)
        able = [demand for demand in turns if any(s.n_free and demand.src in s.capability.asr for s in seats)]
        assert groups.next_demand() == min(able, key=turns.__getitem__, default=None)
        assert (groups.pick(a_question(number, demand=demand)) is None) == (
            not any(seat.n_free and demand.src in seat.capability.asr for seat in seats)
        )
        assert groups.n_leased == sum(seat.n_leased for seat in seats)


def test_a_demand_that_waits_is_not_forgotten_however_many_others_were_seen() -> None:
    turns: dict[Demand, Turn] = {DEMAND: (0, 0, 0, 0, 1)}
    groups = Groups(turns.get, lambda: list(turns))
    seat = a_seat("node-1", ENGLISH)
    groups.add(seat)
    groups.want(DEMAND)
    for number in range(10_000):
        groups.is_served(Demand(src="en", tgt="en", services=("asr",), tenant=f"tenant-{number}"))
    assert groups.next_demand() is None
    seat.lease(1, 10_000)
    assert groups.next_demand() == DEMAND


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

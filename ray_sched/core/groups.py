"""Groups: seats of equal capability, which of them have a free slot, and which demands wait for one.

With this an assignment costs the same with three nodes as with a thousand: a slot that becomes free asks its group who
is next, and a job looks at free seats only. Up to ``EXACT`` of those it looks at all; among more it takes the best of
``SAMPLE``, picked by the job's id, of its session's own node and of its company's. With that many free seats the best
of eight is among the best ninth of them (measured: ``tests/core/test_groups.py``); only if none of them passes, all
are looked at.
"""

from collections.abc import Callable, Iterable, Iterator

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.line import Line
from ray_sched.core.selection import Question, Seat, best, chance, passes
from ray_sched.core.waiting import Turn

EXACT = 16
SAMPLE = 8
_REMEMBERED_DEMANDS = 4_096


class Group:
    """Seats of one capability."""

    def __init__(self, capability: Capability, turn_of: Callable[[Demand], Turn | None]) -> None:
        self.capability = capability
        self.seats: dict[str, Seat] = {}
        self.free: list[Seat] = []
        self.demands: Line[Turn, Demand] = Line(turn_of)
        self.n_leased = 0
        self._place: dict[str, int] = {}
        self._leased: dict[str, int] = {}

    def add(self, seat: Seat) -> None:
        """A seat joins."""
        self.seats[seat.node] = seat
        seat.tell(self.note)
        self.note(seat)

    def remove(self, seat: Seat) -> None:
        """A seat leaves."""
        del self.seats[seat.node]
        seat.tell(lambda _seat: None)
        self.n_leased -= self._leased.pop(seat.node, 0)
        self._set_free(seat, is_free=False)

    def note(self, seat: Seat) -> None:
        """The leases of a seat may have changed."""
        n_leased = seat.n_leased
        self.n_leased += n_leased - self._leased.get(seat.node, 0)
        self._leased[seat.node] = n_leased
        self._set_free(seat, is_free=seat.n_free > 0)

    def _set_free(self, seat: Seat, *, is_free: bool) -> None:
        if is_free == (seat.node in self._place):
            return
        if is_free:
            self._place[seat.node] = len(self.free)
            self.free.append(seat)
            return
        place = self._place.pop(seat.node)
        last = self.free.pop()
        if last is not seat:
            self.free[place] = last
            self._place[last.node] = place


class Groups:
    """All groups, and whose turn it is among the demands for which a slot is free."""

    def __init__(self, turn_of: Callable[[Demand], Turn | None], demands: Callable[[], Iterable[Demand]]) -> None:
        self._turn_of = turn_of
        self._demands = demands
        self._groups: dict[Capability, Group] = {}
        self._able: dict[Demand, list[Group]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def add(self, seat: Seat) -> None:
        """A seat joins the group of its capability."""
        group = self._groups.get(seat.capability)
        if group is None:
            group = self._groups[seat.capability] = Group(seat.capability, self._turn_of)
            self._able.clear()
            for demand in self._demands():
                if uncovered(demand, group.capability) is None:
                    group.demands.put(demand)
        group.add(seat)

    def remove(self, seat: Seat) -> None:
        """A seat leaves its group; an empty group is forgotten."""
        group = self._groups[seat.capability]
        group.remove(seat)
        if not group.seats:
            del self._groups[seat.capability]
            self._able.clear()

    def able(self, demand: Demand) -> list[Group]:
        """The groups that could do such a job at all; remembered until a group comes or goes."""
        found = self._able.get(demand)
        if found is None:
            if len(self._able) >= _REMEMBERED_DEMANDS:
                self._able.clear()
            found = [group for group in self if uncovered(demand, group.capability) is None]
            self._able[demand] = found
        return found

    def want(self, demand: Demand) -> None:
        """Somebody stands in the queue of this demand, perhaps with an earlier turn than those before."""
        for group in self.able(demand):
            group.demands.put(demand)

    def set_aside(self, demand: Demand) -> None:
        """None of the free slots is for this demand's next jobs, for the moment."""
        for group in self.able(demand):
            group.demands.drop(demand)

    def next_demand(self) -> Demand | None:
        """The demand whose turn it is, among those for which a slot is free."""
        found: tuple[Turn, Demand] | None = None
        for group in self:
            if group.free and len(group.demands):
                first = group.demands.first()
                if first is not None and (found is None or first[0] < found[0]):
                    found = first
        return found[1] if found else None

    def has_others(self, demand: Demand, node: str) -> bool:
        """Whether another node than this one could do such a job at all."""
        return any(len(group.seats) > (node in group.seats) for group in self.able(demand))

    def pick(self, q: Question) -> Seat | None:
        """The seat for this job, or None."""
        groups = self.able(q.demand)
        if q.runs_alone:
            return best((s for group in groups for s in group.free if passes(s, q) and not s.n_spent), q)
        n_free = sum(len(group.free) for group in groups)
        if n_free > EXACT:
            found = best((seat for seat in _sample(groups, n_free, q) if passes(seat, q)), q)
            if found:
                return found
        return best((seat for group in groups for seat in group.free if passes(seat, q)), q)

    def least_busy(self, q: Question) -> Seat | None:
        """The seat that will be empty first, for a job that has to run alone."""
        groups = self.able(q.demand)
        able = (seat for group in groups for seat in group.seats.values())
        return best((seat for seat in able if passes(seat, q) and not seat.kept_empty_for), q)


def _sample(groups: list[Group], n_free: int, q: Question) -> Iterator[Seat]:
    """The session's own node, its company's and a few others, all different: a stride walks them evenly."""
    named = {node for node in (q.affine_node, q.company_node) if node}
    for node in named:
        yield from (seat for group in groups if (seat := group.seats.get(node)) and seat.n_free)
    at = chance(q)
    stride = n_free // SAMPLE
    for n in range(SAMPLE):
        place = (at + n * stride) % n_free
        for group in groups:
            if place < len(group.free):
                seat = group.free[place]
                if seat.node not in named:
                    yield seat
                break
            place -= len(group.free)

"""What has to hold for the jobs of a run, decided from what the speakers said and heard. Pure: it is told, it judges.

Every job that was taken has one outcome, told once; a session hears its results in the order in which it was spoken,
and of every gap before what comes after it; a job fails only if the harm that was done explains it.
"""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from ray_sched.core.errors import Code


class Spoken(Struct, frozen=True, tag=True):
    """A speaker has submitted an utterance."""

    client: str
    request: str
    session: str = ""


class Taken(Struct, frozen=True, tag=True):
    """The scheduler has taken it: from now on it owes an outcome."""

    client: str
    request: str
    job: str


class CalledOff(Struct, frozen=True, tag=True):
    """Its speaker wants it no more."""

    client: str
    request: str


class Ended(Struct, frozen=True, tag=True):
    """Its outcome has come."""

    client: str
    request: str
    job: str
    status: str
    code: str = ""
    why: str = ""
    nodes: tuple[str, ...] = ()
    """Where its attempts were, the failed ones too."""


class Heard(Struct, frozen=True, tag=True):
    """A session has heard a result."""

    client: str
    session: str
    index: int
    job: str
    is_late: bool = False


class Gap(Struct, frozen=True, tag=True):
    """A session was told that it goes on without these."""

    client: str
    session: str
    first: int
    last: int


class Died(Struct, frozen=True, tag=True):
    """The speaker's process was killed: nobody is owed anything any more."""

    client: str


Event = Spoken | Taken | CalledOff | Ended | Heard | Gap | Died


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found. All empty: it is as it should be."""

    lost: tuple[str, ...]
    """Jobs without an outcome, not heard by their session, or failed without a reason that the harm explains."""
    duplicates: tuple[str, ...]
    out_of_order: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Nothing was found."""
        return not (self.lost or self.duplicates or self.out_of_order)


class _Told:
    """What one session has heard so far."""

    def __init__(self) -> None:
        self.next_index = 0
        self.missing: set[int] = set()
        self.jobs: Counter[str] = Counter()


_Key = tuple[str, str]


class Oracle:
    """Judges a run."""

    def __init__(self) -> None:
        self.spoken: dict[_Key, Spoken] = {}
        self.taken: dict[_Key, str] = {}
        self.ended: dict[_Key, Ended] = {}
        self.n_gaps = 0
        self.n_late = 0
        self._called_off: set[_Key] = set()
        self._dead: set[str] = set()
        self._told: dict[_Key, _Told] = {}
        self._lost: list[str] = []
        self._duplicates: list[str] = []
        self._out_of_order: list[str] = []

    def handle(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case Spoken():
                self.spoken[event.client, event.request] = event
            case Taken():
                self.taken[event.client, event.request] = event.job
            case CalledOff():
                self._called_off.add((event.client, event.request))
            case Ended():
                self._handle_end(event)
            case Heard():
                self._handle_result(event)
            case Gap():
                self._handle_gap(event)
            case Died():
                self._dead.add(event.client)

    def _handle_end(self, event: Ended) -> None:
        key = (event.client, event.request)
        if key in self.ended:
            self._duplicates.append(f"{event.job} of {event.client} ended twice: {self.ended[key].status}, {event}")
        self.ended[key] = event

    def _handle_result(self, event: Heard) -> None:
        told = self._told.setdefault((event.client, event.session), _Told())
        where = f"{event.job}, {event.session}[{event.index}] of {event.client}"
        told.jobs[event.job] += 1
        if told.jobs[event.job] > 1:
            self._duplicates.append(f"{where} was delivered {told.jobs[event.job]} times")
        elif event.is_late and event.index in told.missing:
            told.missing.discard(event.index)
            self.n_late += 1
        elif event.is_late or event.index != told.next_index:
            self._out_of_order.append(f"{where} came when {told.next_index} was next (late: {event.is_late})")
            told.next_index = max(told.next_index, event.index + 1)
        else:
            told.next_index += 1

    def _handle_gap(self, event: Gap) -> None:
        told = self._told.setdefault((event.client, event.session), _Told())
        self.n_gaps += 1
        if event.first != told.next_index:
            self._out_of_order.append(
                f"the gap {event.first} to {event.last} of {event.session} was told when {told.next_index} was next"
            )
        told.missing |= set(range(event.first, event.last + 1))
        told.next_index = max(told.next_index, event.last + 1)

    # --- judging ---------------------------------------------------------------------------------------------------

    def owed(self) -> list[_Key]:
        """What was spoken by those who live and has not ended."""
        return [key for key in self.spoken if key not in self.ended and key[0] not in self._dead]

    def orphans(self) -> list[str]:
        """Jobs of killed speakers that had no outcome before the kill: the scheduler has to have ended them."""
        return [job for key, job in self.taken.items() if key[0] in self._dead and key not in self.ended]

    def failures(self) -> Counter[str]:
        """Jobs that failed, by code."""
        return Counter(end.code for end in self.ended.values() if end.code)

    def verdict(self, harmed_nodes: Iterable[str] = (), open_orphans: Iterable[str] = ()) -> Verdict:
        """What is wrong. ``harmed_nodes`` had a fault; ``open_orphans``: the scheduler still holds them open."""
        harmed = set(harmed_nodes)
        lost = [f"{request} of {client} has no outcome" for client, request in self.owed()]
        lost += [f"{job} of a killed speaker is still open" for job in open_orphans]
        for key, end in self.ended.items():
            if end.code and not self._is_explained(key, end, harmed):
                lost.append(
                    f"{end.job} of {end.client}: {end.code}: {end.why} (on {', '.join(end.nodes) or 'no node'})"
                )
            lost += self._unheard(key, end)
        return Verdict(
            lost=(*self._lost, *lost),
            duplicates=tuple(self._duplicates),
            out_of_order=tuple(self._out_of_order),
        )

    def _is_explained(self, key: _Key, end: Ended, harmed: set[str]) -> bool:
        """A cancelled job was called off; one that failed did so because each of its nodes was harmed."""
        if end.code == Code.CANCELLED:
            return key in self._called_off
        return bool(end.nodes) and set(end.nodes) <= harmed

    def _unheard(self, key: _Key, end: Ended) -> list[str]:
        spoken = self.spoken.get(key)
        if spoken is None or not spoken.session or not end.job or key[0] in self._dead:
            return []
        told = self._told.get((end.client, spoken.session))
        if told and told.jobs[end.job]:
            return []
        return [f"{end.job} of {end.client} was not heard by {spoken.session}"]

"""The items of a conversation, the pieces of each, and what of them was told: in order, each ended exactly once.

An item is one utterance. It is recognised in pieces, each a job of its own; what is told of a piece waits until all
before it was told. A piece that the cluster cannot take now is submitted again, as the same job, while that makes
sense.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum, auto

from ray_sched.core.errors import ABOUT, About, Refusal
from ray_sched.core.turns.effects import (
    CancelPiece,
    SetTimer,
    SubmitPiece,
    TellCommitted,
    TellCompleted,
    TellFailed,
    TellPartial,
    TellPiece,
    TurnEffect,
)


class PieceState(StrEnum):
    """Where one piece is."""

    RUNNING = auto()
    WAITING = auto()
    """It was refused, and is submitted again when its timer fires."""
    DONE = auto()
    FAILED = auto()
    CANCELLED = auto()


class PieceEvent(StrEnum):
    """What happens to a piece."""

    ENDED = auto()
    REFUSED = auto()
    FAILED = auto()
    TRIED_AGAIN = auto()
    CANCELLED = auto()


PIECE_TABLE: dict[PieceState, dict[PieceEvent, PieceState]] = {
    PieceState.RUNNING: {
        PieceEvent.ENDED: PieceState.DONE,
        PieceEvent.REFUSED: PieceState.WAITING,
        PieceEvent.FAILED: PieceState.FAILED,
        PieceEvent.CANCELLED: PieceState.CANCELLED,
    },
    PieceState.WAITING: {
        PieceEvent.TRIED_AGAIN: PieceState.RUNNING,
        PieceEvent.CANCELLED: PieceState.CANCELLED,
    },
    PieceState.DONE: {},
    PieceState.FAILED: {},
    PieceState.CANCELLED: {},
}
_FIRST_WAIT_MS = 200
_LONGEST_WAIT_MS = 2_000


@dataclass(slots=True)
class Piece:
    """A part of an item, which is one job."""

    name: str
    begin: int
    end: int
    submitted_at_ms: int
    state: PieceState = PieceState.RUNNING
    n_tries: int = 1
    partial: str = ""
    """The latest one, until it was told."""

    @property
    def is_open(self) -> bool:
        """Whether it is still to end."""
        return self.state in {PieceState.RUNNING, PieceState.WAITING}

    def fire(self, event: PieceEvent) -> None:
        """Change its state. Raises KeyError, nothing changed, where the table has no row."""
        self.state = PIECE_TABLE[self.state][event]


@dataclass(slots=True)
class Item:
    """One utterance."""

    id: str
    begin: int
    cut_from: int
    """Audio before this is in pieces."""
    end: int | None = None
    """None while it is spoken, or is not committed."""
    pieces: list[Piece] = field(default_factory=list)
    n_told: int = 0
    """Pieces that were told."""
    refusal: Refusal | None = None
    """Why it fails."""

    @property
    def is_cut(self) -> bool:
        """Whether all of its audio is in pieces."""
        return self.end is not None and self.cut_from >= self.end


class Conversation:
    """The items that have not ended, in order."""

    def __init__(self, token: str, retry_for_ms: int) -> None:
        """``token`` makes the items' names those of this session alone."""
        self.retry_for_ms = retry_for_ms
        self._token = token
        self._n_items = 0
        self._previous: str | None = None
        self._items: deque[Item] = deque()
        self._pieces: dict[str, tuple[Item, Piece]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether every item has ended."""
        return not self._items

    @property
    def needed_from(self) -> int | None:
        """The first sample of those that are still to be submitted, perhaps again."""
        return min((self._needed_from(item) for item in self._items if self._is_needed(item)), default=None)

    def open(self, begin: int) -> Item:
        """A new item, which begins here and is behind all others."""
        self._n_items += 1
        item = Item(f"item_{self._token}{self._n_items}", begin, begin)
        self._items.append(item)
        return item

    def commit(self, item: Item, end: int) -> TellCommitted:
        """The item ends here; its place in the conversation is known."""
        item.end = end
        told = TellCommitted(item.id, self._previous, item.begin, end)
        self._previous = item.id
        return told

    def take_back(self, item: Item) -> list[TurnEffect]:
        """The item, which was not committed, never was."""
        self._items.remove(item)
        return self._cancel_pieces(item)

    def uncut(self) -> Iterator[Item]:
        """Items with audio that is in no piece, in order."""
        return (item for item in self._items if not item.is_cut)

    def cut(self, item: Item, end: int, now_ms: int) -> list[TurnEffect]:
        """The next piece of the item ends here. Nothing is submitted for an item that fails anyway."""
        begin, item.cut_from = item.cut_from, end
        if item.refusal or begin == end:
            return []
        piece = Piece(f"{item.id}.{len(item.pieces)}", begin, end, now_ms)
        item.pieces.append(piece)
        self._pieces[piece.name] = (item, piece)
        return [SubmitPiece(piece.name, item.id, begin, end)]

    def record_partial(self, name: str, text: str) -> None:
        """A partial text of a piece; ignored if it has ended."""
        found = self._pieces.get(name)
        if found and found[1].state is PieceState.RUNNING:
            found[1].partial = text

    def record_end(self, name: str, refusal: Refusal | None, now_ms: int) -> list[TurnEffect]:
        """The job of a piece has ended; ignored if nobody wants to know."""
        item, piece = self._pieces.get(name, (None, None))
        if item is None or piece is None or piece.state is not PieceState.RUNNING:
            return []
        piece.partial = ""
        if refusal is None:
            piece.fire(PieceEvent.ENDED)
            return []
        wait_ms = min(refusal.retry_after_ms or _FIRST_WAIT_MS * 2 ** min(piece.n_tries - 1, 8), _LONGEST_WAIT_MS)
        makes_sense = ABOUT[refusal.code] is About.CLUSTER and now_ms + wait_ms <= (
            piece.submitted_at_ms + self.retry_for_ms
        )
        if makes_sense:
            piece.fire(PieceEvent.REFUSED)
            return [SetTimer(name, piece.n_tries, wait_ms)]
        piece.fire(PieceEvent.FAILED)
        return self._fail(item, refusal)

    def try_again(self, name: str, generation: int) -> list[TurnEffect]:
        """The timer of a piece has fired; ignored unless it waits for just this one."""
        item, piece = self._pieces.get(name, (None, None))
        if item is None or piece is None or piece.state is not PieceState.WAITING or piece.n_tries != generation:
            return []
        piece.fire(PieceEvent.TRIED_AGAIN)
        piece.n_tries += 1
        return [SubmitPiece(name, item.id, piece.begin, piece.end)]

    def interrupt(self, refusal: Refusal) -> list[TurnEffect]:
        """Committed items that have not ended do so without a text."""
        effects: list[TurnEffect] = []
        for item in self._items:
            if item.end is not None and not item.refusal and self._has_open(item):
                effects += self._fail(item, refusal)
                item.cut_from = max(item.cut_from, item.end)
        return effects

    def tell(self) -> list[TurnEffect]:
        """What can be told now and was not: of the first item, and of the next one when that has ended."""
        effects: list[TurnEffect] = []
        while self._items:
            item = self._items[0]
            if not item.refusal:
                effects += self._tell_pieces(item)
            if not item.is_cut or (item.n_told < len(item.pieces) and not item.refusal):
                break
            effects.append(self._end_of(item))
            self._items.popleft()
        return effects

    def _tell_pieces(self, item: Item) -> Iterator[TurnEffect]:
        for piece in item.pieces[item.n_told :]:
            if piece.state is not PieceState.DONE:
                if piece.partial:
                    yield TellPartial(item.id, piece.name, piece.partial)
                    piece.partial = ""
                return
            item.n_told += 1
            del self._pieces[piece.name]
            yield TellPiece(item.id, piece.name, piece.end)

    def _end_of(self, item: Item) -> TurnEffect:
        if item.refusal:
            return TellFailed(item.id, item.refusal)
        return TellCompleted(item.id, sum(piece.end - piece.begin for piece in item.pieces))

    def _fail(self, item: Item, refusal: Refusal) -> list[TurnEffect]:
        item.refusal = refusal
        return self._cancel_pieces(item)

    def _cancel_pieces(self, item: Item) -> list[TurnEffect]:
        """Forget the pieces of an item; those whose jobs may run are cancelled."""
        effects: list[TurnEffect] = []
        for piece in item.pieces:
            if piece.is_open:
                piece.fire(PieceEvent.CANCELLED)
                effects.append(CancelPiece(piece.name))
            self._pieces.pop(piece.name, None)
        return effects

    def _has_open(self, item: Item) -> bool:
        return not item.is_cut or any(piece.is_open for piece in item.pieces)

    def _is_needed(self, item: Item) -> bool:
        return not item.refusal and self._has_open(item)

    def _needed_from(self, item: Item) -> int:
        return min((piece.begin for piece in item.pieces if piece.is_open), default=item.cut_from)

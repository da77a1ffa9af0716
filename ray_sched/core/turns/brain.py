"""One session: audio, verdicts and wishes in, jobs and what the client is told out.

Positions are samples at 16 kHz from the beginning of the session; the shell holds the samples. Every sample is in
exactly one place: in one piece of one item, dropped as silence, taken back by the client, or still held. A sample that
arrives while an utterance is being closed belongs to the next one. Time is an argument.
"""

from typing import assert_never

from ray_sched.core.errors import Code, Refusal
from ray_sched.core.turns.cuts import Cuts
from ray_sched.core.turns.effects import (
    DropAudio,
    SetTimer,
    StopAnswer,
    TellCleared,
    TellClosed,
    TellStarted,
    TellStopped,
    TellTimeout,
    TurnEffect,
)
from ray_sched.core.turns.events import (
    AnswerSent,
    AudioArrived,
    ClearAsked,
    CloseAsked,
    CommitAsked,
    DrainAsked,
    LinkChanged,
    PieceEnded,
    PieceHeard,
    RulesChanged,
    TimerFired,
    TurnEvent,
    WindowsJudged,
)
from ray_sched.core.turns.items import Conversation, Item
from ray_sched.core.turns.rules import SAMPLES_PER_MS, WINDOW_SAMPLES, TurnRules
from ray_sched.core.turns.voice import Voice, VoiceState

_IDLE, _STALL, _DRAIN = "idle", "stall", "drain"
_DROP_SAMPLES = 8_000
"""Silence is dropped half a second at a time."""
_INTERRUPTED = Refusal(
    code=Code.CANCELLED, message="somebody spoke while the answer played; what was left is cancelled"
)


class TurnBrain:
    """``handle(event, now_ms)`` gives the effects, to be carried out in order."""

    def __init__(self, token: str, rules: TurnRules) -> None:
        """``token``: part of the names of all items, so that they are this session's alone."""
        self.rules = rules
        self.end = 0
        """Behind the last sample that has arrived."""
        self.judged = 0
        """Behind the last sample that the detector has judged."""
        self.is_closed = False
        self._free_from = 0
        """Audio before this is in an item or was taken back."""
        self._dropped = 0
        self._voice = Voice()
        self._conversation = Conversation(token, rules.retry_for_ms)
        self._item: Item | None = None
        """The one that is being spoken, or filled until the client commits it."""
        self._cuts = Cuts()
        self._generations: dict[str, int] = {}
        self._is_idle_set = False
        self._idle_from = 0
        self._last_audio_ms = 0
        self._answer_plays_to_ms = 0
        self._is_up = True
        self._is_closing = False
        self._is_draining = False

    @property
    def takes_audio(self) -> bool:
        """Whether audio that arrives now is part of the session; else it is not told of it."""
        return not (self.is_closed or self._is_closing or (self._is_draining and self._item is None))

    def handle(self, event: TurnEvent, now_ms: int) -> list[TurnEffect]:
        """Handle one event. Nothing comes of any after the session has closed."""
        if self.is_closed:
            return []
        effects = [*self._handle(event, now_ms), *self._cut_long(now_ms), *self._conversation.tell()]
        effects += [*self._close_when_ended(now_ms), *self._set_idle()]
        return effects + self._drop_audio()

    def _handle(self, event: TurnEvent, now_ms: int) -> list[TurnEffect]:  # noqa: C901, PLR0911, PLR0912  # one line for each
        match event:
            case AudioArrived():
                return self._add(event.n_samples, now_ms)
            case WindowsJudged():
                return self._judge(event, now_ms)
            case RulesChanged():
                return self._change(event.rules)
            case CommitAsked():
                return self._commit_asked()
            case ClearAsked():
                return self._clear()
            case CloseAsked():
                self._is_closing = True
                return []
            case DrainAsked():
                self._is_draining = True
                return [self._timer(_DRAIN, event.within_ms)]
            case LinkChanged():
                self._is_up, self._last_audio_ms, self._is_idle_set = event.is_up, now_ms, False
                return self._watch()
            case PieceHeard():
                self._conversation.record_partial(event.piece, event.text)
                return []
            case PieceEnded():
                return self._conversation.record_end(event.piece, event.refusal, now_ms)
            case AnswerSent():
                self._answer_plays_to_ms = max(self._answer_plays_to_ms, now_ms) + event.duration_ms
                return []
            case TimerFired():
                return self._fire(event, now_ms)
            case _:
                assert_never(event)

    # --- audio and verdicts ----------------------------------------------------------------------------------------

    def _add(self, n_samples: int, now_ms: int) -> list[TurnEffect]:
        if not self.takes_audio:
            return []
        self._last_audio_ms = now_ms
        if not self.rules.is_detected and self._item is None and n_samples:
            self._item = self._conversation.open(self._free_from)
        self.end += n_samples
        return []

    def _judge(self, judged: WindowsJudged, now_ms: int) -> list[TurnEffect]:
        """Window by window, so that a cut finds the best place whether they come one by one or all at once."""
        effects: list[TurnEffect] = []
        for number, probability in enumerate(judged.probabilities):
            begin = judged.first + number * WINDOW_SAMPLES
            self.judged = begin + WINDOW_SAMPLES
            self._cuts.add(self.judged, probability)
            is_new = begin >= self._free_from and (self._item is not None or self.takes_audio or self._is_closing)
            if self.rules.is_detected and is_new:
                has_changed = self._voice.add(begin, probability, self.rules)
                if has_changed is True and self._item is None:
                    effects += self._begin(now_ms)
                elif has_changed is False and self._item is not None:
                    effects += self._stop(self._voice.spoken_to + self.rules.suffix_ms * SAMPLES_PER_MS)
            effects += self._cut_long(now_ms)
        return effects

    def _begin(self, now_ms: int) -> list[TurnEffect]:
        begin = max(self._free_from, self._dropped, self._voice.began_at - self.rules.prefix_ms * SAMPLES_PER_MS)
        self._item = self._conversation.open(begin)
        self._is_idle_set = False
        told: list[TurnEffect] = [TellStarted(self._item.id, begin), *self._watch()]
        if self.rules.is_interruptible and now_ms < self._answer_plays_to_ms:
            self._answer_plays_to_ms = now_ms
            told += [StopAnswer(), *self._conversation.interrupt(_INTERRUPTED)]
        return told

    def _stop(self, at: int) -> list[TurnEffect]:
        """The utterance has ended by silence: what of the silence is behind ``at`` is not in it."""
        assert self._item is not None  # noqa: S101  # callers have looked
        at = min(max(at, self._item.cut_from), self.end)
        return [TellStopped(self._item.id, at), *self._commit(at)]

    def _commit(self, at: int) -> list[TurnEffect]:
        assert self._item is not None  # noqa: S101  # callers have looked
        item, self._item, self._free_from = self._item, None, at
        self._voice.reset()
        return [self._conversation.commit(item, at)]

    def _cut_long(self, now_ms: int) -> list[TurnEffect]:
        """Submit what is ready to be: pieces that are long enough, and the rest of what is committed."""
        effects: list[TurnEffect] = []
        cut = self.rules.cut_ms * SAMPLES_PER_MS
        for item in self._conversation.uncut():
            known_to = self.judged if item.end is None else min(item.end, self.judged)
            while known_to - item.cut_from >= cut and (item.end is None or item.end - item.cut_from > cut):
                effects += self._conversation.cut(item, self._cuts.best(item.cut_from, self.rules), now_ms)
            if item.end is not None and item.end - item.cut_from <= cut:
                effects += self._conversation.cut(item, item.end, now_ms)
        first = next(self._conversation.uncut(), None)
        self._cuts.forget(self.judged if first is None else first.cut_from)
        return effects

    # --- wishes of the client --------------------------------------------------------------------------------------

    def _commit_asked(self) -> list[TurnEffect]:
        least = self.rules.min_commit_ms * SAMPLES_PER_MS
        if self._item is not None:
            if not self._item.pieces and self.end - self._item.begin < least:
                return []
            return self._commit(self.end)
        begin = self._quiet_from()
        n_unknown = self.end - max(self.judged, self._free_from)
        if n_unknown < least and self._voice.state is not VoiceState.RISING:
            return []
        self._item = self._conversation.open(begin)
        self._is_idle_set = False
        return self._commit(self.end)

    def _clear(self) -> list[TurnEffect]:
        effects = self._conversation.take_back(self._item) if self._item else []
        self._item = None
        self._free_from = self.end
        self._voice.reset()
        return [*effects, TellCleared()]

    def _change(self, rules: TurnRules) -> list[TurnEffect]:
        was_detected, self.rules = self.rules.is_detected, rules
        self._conversation.retry_for_ms = rules.retry_for_ms
        self._is_idle_set = False
        if was_detected and not rules.is_detected:
            if self._item is None:
                self._free_from = self._quiet_from()
                self._item = self._conversation.open(self._free_from) if self.end > self._free_from else None
            self._voice.reset()
        if rules.is_detected and not was_detected and self._item is not None:
            self._voice.assume(max(self.judged, self._free_from))
        return self._watch()

    def _quiet_from(self) -> int:
        """The first sample that an utterance which is still to begin may need."""
        heard = self._voice.began_at if self._voice.state is VoiceState.RISING else min(self.judged, self.end)
        return max(self._free_from, self._dropped, heard - self.rules.prefix_ms * SAMPLES_PER_MS)

    # --- timers and the end ----------------------------------------------------------------------------------------

    def _timer(self, timer: str, after_ms: int) -> SetTimer:
        self._generations[timer] = self._generations.get(timer, 0) + 1
        return SetTimer(timer, self._generations[timer], after_ms)

    def _fire(self, fired: TimerFired, now_ms: int) -> list[TurnEffect]:
        if fired.timer not in {_IDLE, _STALL, _DRAIN}:
            return self._conversation.try_again(fired.timer, fired.generation)
        if self._generations.get(fired.timer) != fired.generation:
            return []
        if fired.timer == _IDLE:
            return self._tell_idle()
        if fired.timer == _STALL:
            return self._end_stalled(now_ms)
        return self._finish()

    def _watch(self) -> list[TurnEffect]:
        """An utterance of which no more audio comes will end, unless the link is cut."""
        is_watched = self._item is not None and self.rules.is_detected and self._is_up
        return [self._timer(_STALL, self.rules.stall_ms)] if is_watched else []

    def _end_stalled(self, now_ms: int) -> list[TurnEffect]:
        if not (self.rules.is_detected and self._is_up):
            return []
        left_ms = self.rules.stall_ms - (now_ms - self._last_audio_ms)
        return [self._timer(_STALL, left_ms)] if left_ms > 0 else self._finish()

    def _finish(self) -> list[TurnEffect]:
        """The utterance, if there is one, ends with the last sample that has come."""
        if self._item is None:
            return []
        return self._stop(self.end) if self.rules.is_detected else self._commit(self.end)

    def _set_idle(self) -> list[TurnEffect]:
        timeout_ms = self.rules.idle_timeout_ms
        is_idle = self._item is None and self._conversation.is_empty and self.takes_audio and self._is_up
        if timeout_ms is None or not self.rules.is_detected or not is_idle or self._is_idle_set or self.end == 0:
            return []
        self._is_idle_set, self._idle_from = True, self.end
        return [self._timer(_IDLE, timeout_ms)]

    def _tell_idle(self) -> list[TurnEffect]:
        if not (self._is_idle_set and self._is_up):
            return []
        self._is_idle_set = False
        item = self._conversation.open(self.end)
        return [TellTimeout(item.id, self._idle_from, self.end), self._conversation.commit(item, self.end)]

    def _close_when_ended(self, now_ms: int) -> list[TurnEffect]:
        if not (self._is_closing or self._is_draining):
            return []
        effects: list[TurnEffect] = []
        is_unjudged = self.end - self.judged >= WINDOW_SAMPLES
        if self._is_closing and self._item and not (self.rules.is_detected and is_unjudged):
            effects += [*self._finish(), *self._cut_long(now_ms), *self._conversation.tell()]
        if self._item is None and self._conversation.is_empty and not (self._is_closing and is_unjudged):
            self.is_closed = True
            effects.append(TellClosed())
        return effects

    def _drop_audio(self) -> list[TurnEffect]:
        """Audio before what is needed by a job, the utterance of now, or the beginning of the next one."""
        needed = self._conversation.needed_from
        quiet_from = self._quiet_from() if self._item is None else self._item.cut_from
        before = min(quiet_from, self.end if needed is None else needed)
        if before - self._dropped < (1 if before == self.end else _DROP_SAMPLES):
            return []
        self._dropped = before
        return [DropAudio(before)]

"""The shell of a session: it holds the audio, carries out what the machine decides, and speaks with the client.

The machine is called from one event loop only and never while it is being called: what comes meanwhile waits. A session
outlives its connection for a while; who comes back goes on where it was.
"""

import asyncio
import base64
import binascii
import logging
import secrets
from collections import deque
from collections.abc import Callable

from ray_sched.client.client import Client
from ray_sched.core.turns.brain import TurnBrain
from ray_sched.core.turns.effects import (
    CancelPiece,
    DropAudio,
    SetTimer,
    StopAnswer,
    SubmitPiece,
    TellClosed,
    TellCompleted,
    TellFailed,
    TellPiece,
    TurnEffect,
)
from ray_sched.core.turns.events import (
    AnswerSent,
    AudioArrived,
    ClearAsked,
    CloseAsked,
    CommitAsked,
    DrainAsked,
    RulesChanged,
    TimerFired,
    TurnEvent,
)
from ray_sched.core.turns.rules import SAMPLES_PER_MS
from ray_sched.gateway.realtime.audio_in import AudioIn
from ray_sched.gateway.realtime.configuration import Configuration
from ray_sched.gateway.realtime.dialect import Dialect, wish_error_event
from ray_sched.gateway.realtime.ear import Ear
from ray_sched.gateway.realtime.held_audio import HeldAudio
from ray_sched.gateway.realtime.jobs import Jobs
from ray_sched.gateway.realtime.outbox import Outbox
from ray_sched.gateway.realtime.translation import speech_ms
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.gateway.realtime.wishes import ClientMessage, WishError, read_message, read_wish
from ray_sched.wire.samples import Samples

log = logging.getLogger(__name__)

NORMAL, RESTART, OVERLOAD = 1000, 1012, 1013
"""Close codes: all was said; come again, here or elsewhere; come again later."""


class Session:
    """One session, from its first connection until its end."""

    def __init__(
        self,
        configuration: Configuration,
        dialect: Dialect,
        client: Client,
        voices: Voices,
        *,
        bring: Callable[[int], None],
        count: Callable[[int], None],
    ) -> None:
        """``bring`` is told the milliseconds of each job, and may refuse them with a SchedError; ``count`` the samples.

        Raises SchedError MISSING_PART where there is no voice detector.
        """
        self.configuration = configuration
        self.outbox = Outbox()
        self.held = HeldAudio(count)
        self.close_code = NORMAL
        self.has_ended = asyncio.Event()
        self.has_room = asyncio.Event()
        """Set whenever something was freed; who waits for it looks again."""
        self.audio_bytes = 0
        """That the client has sent, as it has coded them: where it goes on after a lost connection."""
        self._loop = asyncio.get_running_loop()
        self._dialect = dialect
        self._brain = TurnBrain(secrets.token_hex(6), configuration.turn_rules)
        self._audio_in = AudioIn(configuration.format)
        self.ear = Ear(voices, self.apply, self._give_up)
        self._jobs = Jobs(client, self.id, self.apply)
        self._bring = bring
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._events: deque[TurnEvent] = deque()
        self._is_applying = False
        self.outbox.put({"type": "session.created", "session": configuration.page})

    @property
    def id(self) -> str:
        """A secret of its client."""
        return str(self.configuration.page["id"])

    @property
    def held_s(self) -> float:
        """Seconds of audio that are held, or wait for the voice detector."""
        return max(self.held.n_samples, self.ear.n_waiting) / SAMPLES_PER_MS / 1000

    # --- what comes from the client --------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        """A message of the client."""
        message: ClientMessage | None = None
        try:
            message = read_message(text)
            self._receive(message)
        except WishError as error:
            self.outbox.put(wish_error_event(error, message.event_id if message else None))

    def _receive(self, message: ClientMessage) -> None:
        match message.type.removeprefix("session."):
            case "update":
                self._update(message)
            case "input_audio_buffer.append":
                self._append(message.audio)
            case "input_audio_buffer.commit":
                self._take_samples(self._audio_in.flush())
                self.apply(CommitAsked())
            case "input_audio_buffer.clear":
                self._take_samples(self._audio_in.flush())
                self.apply(ClearAsked())
            case "close":
                self._take_samples(self._audio_in.flush())
                self.apply(CloseAsked())
            case _:
                log.debug("a message of type %.80s is not for us", message.type)

    def _update(self, message: ClientMessage) -> None:
        self.configuration.update(read_wish(message))
        if self.configuration.format != self._audio_in.coding:
            self._take_samples(self._audio_in.flush())
            self._audio_in = AudioIn(self.configuration.format)
        self.apply(RulesChanged(self.configuration.turn_rules))
        self.outbox.put({"type": "session.updated", "session": self.configuration.page})

    def _append(self, audio: str) -> None:
        try:
            chunk = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise WishError("audio is no base64; encode the samples", param="audio") from None
        self.audio_bytes += len(chunk)
        self._take_samples(self._audio_in.add(chunk))

    def _take_samples(self, samples: Samples) -> None:
        if len(samples) and self._brain.takes_audio:
            self.held.add(samples)
            self.apply(AudioArrived(len(samples)))
            self.ear.add(samples)

    # --- the machine -----------------------------------------------------------------------------------------------

    def apply(self, event: TurnEvent) -> None:
        """Something has happened. In order, one after the other."""
        self._events.append(event)
        if self._is_applying:
            return
        self._is_applying = True
        try:
            while self._events:
                now_ms = round(self._loop.time() * 1000)
                for effect in self._brain.handle(self._events.popleft(), now_ms):
                    self._carry_out(effect)
        finally:
            self._is_applying = False

    def resume(self, last_event_id: str) -> None:
        """The client is back. It has heard all up to this event; without one, all that was written to it."""
        self.outbox.rewind(last_event_id)
        about = {"resumed": True, "input_audio_bytes": self.audio_bytes}
        self.outbox.put_first({"type": "session.created", "session": self.configuration.page | about})

    def drain(self, within_s: float) -> None:
        """What is being spoken may end, then the client is told to come again elsewhere."""
        self.close_code = RESTART
        self.apply(DrainAsked(round(within_s * 1000)))

    def end(self) -> None:
        """Nobody wants anything of it any more."""
        if self.has_ended.is_set():
            return
        for timer in self._timers.values():
            timer.cancel()
        self._jobs.cancel_all()
        self.held.drop(self.held.end)
        self.ear.close()
        self.outbox.end()
        self.has_ended.set()
        self.has_room.set()

    def _carry_out(self, effect: TurnEffect) -> None:
        match effect:
            case SubmitPiece(piece, _, begin, end):
                self._jobs.submit(piece, self.held.between(begin, end), self.configuration, self._bring)
            case CancelPiece(piece):
                self._jobs.cancel(piece)
            case DropAudio(before):
                self.held.drop(before)
                self.has_room.set()
            case SetTimer():
                self._set_timer(effect)
            case StopAnswer():
                pass  # what was sent is the client's to stop: it is told that somebody speaks
            case TellClosed():
                self._close()
            case _:
                self._tell(effect)

    def _tell(self, effect: TurnEffect) -> None:
        result = self._jobs.take(effect.piece) if isinstance(effect, TellPiece) else None
        for event in self._dialect.tell(effect, result):
            self.outbox.put(event)
            if duration_ms := speech_ms(event):
                self._events.append(AnswerSent(duration_ms))
        if isinstance(effect, TellFailed | TellCompleted):
            self._jobs.forget(effect.item)

    def _close(self) -> None:
        if self.configuration.kind == "translation" and self.close_code == NORMAL:
            self.outbox.put({"type": "session.closed"})
        self.outbox.end()

    def _give_up(self) -> None:
        """Nobody can tell any more where somebody speaks: the client may come again."""
        self.close_code = OVERLOAD
        self.outbox.end()

    def _set_timer(self, effect: SetTimer) -> None:
        if old := self._timers.pop(effect.timer, None):
            old.cancel()
        fired = TimerFired(effect.timer, effect.generation)
        self._timers[effect.timer] = self._loop.call_later(effect.after_ms / 1000, self._fire, fired)

    def _fire(self, fired: TimerFired) -> None:
        self._timers.pop(fired.timer, None)
        self.apply(fired)

"""All sessions of a gateway: opened, found again by who comes back, and ended."""

import asyncio
import secrets
import time
from collections.abc import Callable

from starlette.websockets import WebSocket

from ray_sched.client.client import Client
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.turns.events import LinkChanged
from ray_sched.gateway.limits import Limits
from ray_sched.gateway.realtime.configuration import Configuration, Kind
from ray_sched.gateway.realtime.connection import Connection
from ray_sched.gateway.realtime.dialect import Dialect
from ray_sched.gateway.realtime.room import Room
from ray_sched.gateway.realtime.session import Session
from ray_sched.gateway.realtime.transcription import Transcription
from ray_sched.gateway.realtime.translation import Translation
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.settings import GatewayRules

_LAST_WORDS_S = 5.0
"""What was decided at the end of a drain may take so long to be written."""


class _Open:
    """A session, whose it is, and who serves it."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant
        self.serving: asyncio.Task[bool] | None = None
        self.timers: list[asyncio.TimerHandle] = []
        """When it has waited long enough for its client, and when it has lasted long enough."""


class Sessions:
    """Of one gateway."""

    def __init__(self, rules: GatewayRules, limits: Limits, bring_audio: Callable[[str, int], None]) -> None:
        """``bring_audio``: is told a tenant and the milliseconds of a job of its, and may refuse them."""
        self._rules = rules
        self._limits = limits
        self._bring_audio = bring_audio
        self._voices = Voices()
        self._open: dict[str, _Open] = {}
        self.room = Room(rules)

    def __len__(self) -> int:
        return len(self._open)

    def find(self, session_id: str, tenant: str) -> Session | None:
        """The session of this tenant that waits for its client, or was cut off without knowing it."""
        known = self._open.get(session_id)
        return known.session if known and known.tenant == tenant else None

    def open(self, kind: Kind, tenant: str, client: Client, model: str) -> Session:
        """A new session. Raises SchedError OVERLOADED, or MISSING_PART without the voice detector."""
        if self._limits.are_sessions_full:
            raise SchedError(Code.OVERLOADED, f"{len(self)} sessions are open; come again in a second", 1_000)
        configuration = Configuration(
            kind, self._rules, f"sess_{secrets.token_hex(16)}", model, round(time.time() + self._rules.session_s)
        )
        dialect: Dialect = Transcription() if kind == "transcription" else Translation(configuration)
        self._limits.open_session(tenant)
        try:
            session = Session(
                configuration,
                dialect,
                client,
                self._voices,
                bring=lambda audio_ms: self._bring_audio(tenant, audio_ms),
                count=lambda n_samples: self.room.count(tenant, n_samples),
            )
        except SchedError:
            self._limits.close_session(tenant)
            raise
        self._open[session.id] = _Open(session, tenant)
        return session

    async def serve(self, session: Session, socket: WebSocket) -> None:
        """Serve a connection of a session until it ends; one that still serves it is closed."""
        known, loop = self._open[session.id], asyncio.get_running_loop()
        for timer in known.timers:
            timer.cancel()
        if known.serving:
            known.serving.cancel()
            await asyncio.gather(known.serving, return_exceptions=True)

        def may_bring() -> bool:
            return self.room.has_room(known.tenant, session.held_s)

        left_s = session.configuration.page["expires_at"] - time.time()
        known.timers = [loop.call_later(max(left_s, 0), session.drain, self._rules.cut_s)]
        known.serving = asyncio.ensure_future(Connection(socket, session, may_bring).serve())
        try:
            has_ended = await known.serving
        except asyncio.CancelledError:  # another connection serves it now, or the gateway ends
            return
        known.serving = None
        if has_ended or session.outbox.is_ended:
            self._end(known)
        else:
            session.apply(LinkChanged(is_up=False))
            known.timers.append(loop.call_later(self._rules.resume_s, self._end, known))

    async def drain(self, within_s: float) -> None:
        """Let what is being spoken end, tell every client to come again elsewhere, and return when that is done."""
        for known in list(self._open.values()):
            if known.serving:
                known.session.drain(within_s)
            else:
                self._end(known)
        ended = [known.session.has_ended.wait() for known in self._open.values()]
        waiting = [asyncio.ensure_future(one) for one in ended]
        if waiting:
            await asyncio.wait(waiting, timeout=within_s + _LAST_WORDS_S)
        for task in waiting:
            task.cancel()

    async def close(self) -> None:
        """End all of them now."""
        for known in list(self._open.values()):
            if known.serving:
                known.serving.cancel()
            self._end(known)
        await self._voices.close()

    def _end(self, known: _Open) -> None:
        if self._open.pop(known.session.id, None):
            for timer in known.timers:
                timer.cancel()
            known.session.end()
            self._limits.close_session(known.tenant)

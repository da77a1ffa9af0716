"""The clients users import: they find the scheduler and join its Ray cluster, or say why they cannot."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ray_sched.client.audio import AudioSource
from ray_sched.client.client import Client as PlainClient
from ray_sched.client.long import Passage
from ray_sched.client.options import ClientOptions
from ray_sched.client.recordings import RecordingSource
from ray_sched.client.results import Result
from ray_sched.settings import Settings, load_settings
from ray_sched.system.address import find_address
from ray_sched.system.allocator import keep_memory
from ray_sched.system.ray_session import connect_ray
from ray_sched.system.start import Scheduler

T = TypeVar("T")


class Client(PlainClient):
    """``async with ray_sched.Client() as client: result = await client.submit(audio, src="en", tgt="es")``.

    Joins the Ray cluster of the settings unless this process is in one already. See ``client.Client``.
    """

    def __init__(self, settings: Settings | None = None, *, client_id: str | None = None, tenant: str = "") -> None:
        settings = settings or load_settings()
        _join(settings)
        if settings.client.keeps_memory:
            keep_memory()
        from ray_sched.system.ray_peers import RayDirectory, RayObjectStore  # noqa: PLC0415  # imports Ray: its environment first

        directory = RayDirectory(settings.namespace)
        super().__init__(
            directory,
            RayObjectStore(),
            ClientOptions(
                client_id=client_id or "",
                tenant=tenant,
                push_timeout_s=settings.dispatch.push_timeout_ms / 1000,
                push_ms_per_audio_s=settings.dispatch.push_ms_per_audio_s,
                inline_bytes=settings.client.inline_bytes,
                retry_for_s=settings.client.retry_for_ms / 1000,
                read_timeout_s=settings.client.read_timeout_ms / 1000,
                max_duration_s=settings.client.max_audio_s,
            ),
            directory.post,
        )
        self._scheduler = Scheduler(settings)

    async def __aenter__(self) -> Self:
        if not await self._scheduler.is_running():
            await self._scheduler.status()
        return await super().__aenter__()


class BlockingClient:
    """The client for ordinary code: the same jobs, without ``await``. Use it as a context manager."""

    def __init__(self, settings: Settings | None = None, *, client_id: str | None = None, tenant: str = "") -> None:
        settings = settings or load_settings()
        _join(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ray_sched client", daemon=True)
        self._make: Callable[[], Client] = lambda: Client(settings, client_id=client_id, tenant=tenant)
        self._client: Client | None = None

    def __enter__(self) -> Self:
        self._thread.start()

        async def enter() -> Client:
            return await self._make().__aenter__()

        try:
            self._client = self._wait(enter())
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not ended, and stop."""
        if self._client:
            self._wait(self._client.close())
            self._client = None
            self._stop_loop()

    def submit(self, audio: AudioSource, **options: Any) -> Result:
        """Submit one utterance and wait for its result. Raises SchedError if it fails. Options as ``Client.submit``."""

        async def run() -> Result:
            return await self._entered().submit(audio, **options)

        return self._wait(run())

    def map(self, audios: Iterable[AudioSource], **options: Any) -> Iterator[Result]:
        """Every result of any number of utterances. Options as ``Client.map``."""
        return self._iterate(self._entered().map(audios, **options))

    def transcribe_long(self, source: RecordingSource, **options: Any) -> Iterator[Passage]:
        """The passages of hours of audio, in order. Options as ``Client.transcribe_long``."""
        return self._iterate(self._entered().transcribe_long(source, **options))

    def _iterate(self, stream: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while True:
                try:
                    yield self._wait(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._wait(_close(stream))

    def _entered(self) -> Client:
        if self._client is None:
            raise RuntimeError("enter the client first: with BlockingClient() as client")
        return self._client

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result()
        except BaseException:  # such as Ctrl-C: nobody waits any more
            done.cancel()
            raise

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(stream: AsyncGenerator[T, None]) -> T:
    return await anext(stream)


async def _close(stream: AsyncGenerator[Any, None]) -> None:
    await stream.aclose()


def _join(settings: Settings) -> None:
    """Join the cluster unless this process has joined one. Ray reads its token when it is first imported."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        connect_ray(find_address(settings), settings.namespace)

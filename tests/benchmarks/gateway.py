"""``python -m tests.benchmarks.gateway [--sessions 200] [--seconds 300] [--cut-every 0]``: many who speak at once.

No test: a person runs it. A scheduler of one echo node, a gateway beside it in a process of its own, and sessions that
each bring real-time audio over a WebSocket: the shipped recordings with pauses, in chunks of 100 ms, every session at
another place of them. Turns are found by the gateway's voice detectors. With ``--cut-every`` each connection is aborted
after so many seconds on average, and its client comes back and goes on from the byte that has arrived.

Told: utterances that were committed, ended and lost; events out of order or twice; from when the chunk was sent that
ends the silence behind an utterance to its text; how late the clients' own loop was; memory of the gateway.
"""

import argparse
import asyncio
import base64
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soxr  # type: ignore[import-untyped]  # it has no types
from msgspec import Struct, field, to_builtins
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ray_sched.core.rules import CleanupRules
from tests.support.cluster import RunningCluster, echo_node
from tests.support.recordings import joined

RATE_HZ = 24_000
CHUNK_MS = 100
_CHUNK_BYTES = 2 * RATE_HZ * CHUNK_MS // 1000
_PAUSE_S, _TAIL_S = 1.2, 20.0
_SILENCE_MS, _SUFFIX_MS = 500, 200
_BYTES_PER_MS = 2 * RATE_HZ // 1000
_SAMPLE_EVERY_S = 1.0


class Report(Struct, kw_only=True):
    """What is printed."""

    sessions: int
    seconds: float
    utterances: int = 0
    failed: int = 0
    lost: int = 0
    """Committed, but never ended."""
    out_of_order: int = 0
    heard_twice: int = 0
    returns: int = 0
    """After a cut connection."""
    last_chunk_to_text_ms_p50: float = -1
    last_chunk_to_text_ms_p99: float = -1
    own_lag_ms_p99: float = -1
    """How late the clients' loop was: no time above is better than the machine."""
    gateway_mb: tuple[float, float] = (-1, -1)
    """Of the gateway with its voice detectors, at the median of the second quarter and of the last one."""
    gateway_cpu: float = -1
    """Cores that it took."""
    errors: list[str] = field(default_factory=list)


class Speaker:
    """One client: speaks in real time and checks what it hears."""

    def __init__(self, url: str, audio: bytes, offset_ms: int, report: Report, cut_every_s: float, seed: int) -> None:
        self._url = url
        self._audio = audio
        self._offset = offset_ms * _BYTES_PER_MS
        self._report = report
        self._cut_every_s = cut_every_s
        self._rng = random.Random(seed)  # noqa: S311  # a load, no secret
        self._sent_at: dict[int, float] = {}
        """When the chunk was sent that ends at this byte, of the first time that it was."""
        self._session = ""
        self._last_event = 0
        self._committed: list[str] = []
        self._ended: list[str] = []
        self._ends_ms: dict[str, int] = {}
        self._n_sent = 0
        self.late_ms: list[float] = []
        self.lags_ms: list[float] = []

    async def run(self, seconds: float) -> None:
        """Speak for so long, then wait for what is missing."""
        await asyncio.sleep(self._rng.random() * CHUNK_MS / 1000)
        self._began_s = time.monotonic()
        n_bytes = int(seconds * 1000) // CHUNK_MS * _CHUNK_BYTES
        while True:
            try:
                if await self._connected(n_bytes):
                    break
            except (ConnectionClosed, OSError, InvalidStatus, TimeoutError) as error:
                if self._cut_every_s == 0 and len(self._report.errors) < 10:
                    self._report.errors.append(repr(error)[:200])
                await asyncio.sleep(0.2)
            if time.monotonic() - self._began_s > seconds + 2 * _TAIL_S:
                break
        self._report.utterances += len(self._committed)
        self._report.lost += len(set(self._committed) - set(self._ended))
        self._report.out_of_order += self._ended != self._committed[: len(self._ended)]

    async def _connected(self, n_bytes: int) -> bool:
        """One connection. Returns whether all was said and answered."""
        back = f"&session_id={self._session}&last_event_id=event_{self._last_event}" if self._session else ""
        url = f"{self._url}/v1/realtime?intent=transcription{back}"
        async with connect(url, compression=None, max_queue=64) as socket:
            created = json.loads(await asyncio.wait_for(socket.recv(), 20))["session"]
            if self._session:
                self._report.returns += 1
                if created["id"] != self._session:
                    self._report.errors.append("the session was not found again")
                    return True
            else:
                self._last_event = 1
            self._session, at = created["id"], created.get("input_audio_bytes", 0)
            hearing = asyncio.ensure_future(self._hear(socket))
            if self._cut_every_s:
                asyncio.get_running_loop().call_later(
                    self._rng.expovariate(1 / self._cut_every_s), socket.transport.abort
                )
            try:
                await self._speak(socket, at, n_bytes)
                async with asyncio.timeout(_TAIL_S):
                    while len(self._ended) < len(self._committed) and not hearing.done():  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                return not hearing.done()
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _speak(self, socket: ClientConnection, at: int, n_bytes: int) -> None:
        while at < n_bytes:
            due_s = self._began_s + at / _BYTES_PER_MS / 1000
            now_s = time.monotonic()
            if due_s > now_s:
                await asyncio.sleep(due_s - now_s)
                self.lags_ms.append((time.monotonic() - due_s) * 1000)
            end = min(at + _CHUNK_BYTES, n_bytes)
            place = (self._offset + at) % len(self._audio)
            chunk = (self._audio + self._audio[:_CHUNK_BYTES])[place : place + end - at] if end - at else b""
            text = base64.b64encode(chunk).decode()
            await socket.send(f'{{"type":"input_audio_buffer.append","audio":"{text}"}}')
            self._sent_at.setdefault(end // _CHUNK_BYTES, time.monotonic())
            at = end

    async def _hear(self, socket: ClientConnection) -> None:
        async for text in socket:
            self._note(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        number = int(event["event_id"].removeprefix("event_"))
        if number <= self._last_event:
            self._report.heard_twice += 1
            return
        self._report.out_of_order += number != self._last_event + 1
        self._last_event = number
        kind = event["type"]
        if kind == "input_audio_buffer.speech_stopped":
            self._ends_ms[event["item_id"]] = event["audio_end_ms"]
        elif kind == "input_audio_buffer.committed":
            self._committed.append(event["item_id"])
        elif kind.endswith(("transcription.completed", "transcription.failed")):
            self._ended.append(event["item_id"])
            self._report.failed += kind.endswith("failed")
            decided_ms = self._ends_ms.get(event["item_id"], 0) - _SUFFIX_MS + _SILENCE_MS
            sent_s = self._sent_at.get(-(-decided_ms // CHUNK_MS))
            if sent_s and kind.endswith("completed"):
                self.late_ms.append((time.monotonic() - sent_s) * 1000)


class Gateway:
    """``ray-sched gateway`` in a process of its own."""

    def __init__(self, address: str, data_dir: Path) -> None:
        self._command = [
            sys.executable, "-m", "ray_sched", "gateway", "--address", address, "--data-dir", str(data_dir),
            "--listen", "127.0.0.1:0", "--config", str(data_dir / "gateway.yaml"),
        ]  # fmt: skip
        (data_dir / "gateway.yaml").write_text("gateway: {max_sessions: 10000, max_all_sessions: 10000}\n")

    async def start(self) -> str:
        """The URL at which it listens."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert self.process.stderr is not None
        said = []
        while line := (await asyncio.wait_for(self.process.stderr.readline(), 60)).decode():
            said.append(line)
            if "listening on " in line:
                self._reading = asyncio.ensure_future(self.process.stderr.read())
                return line.partition("listening on ")[2].split("/v1")[0]
        raise RuntimeError(f"the gateway did not start: {said}")

    def megabytes(self) -> float:
        """Of it and its voice detectors."""
        own = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [own, *own.children(recursive=True)]) / 1e6

    def cpu_s(self) -> float:
        """The same."""
        own = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in [own, *own.children(recursive=True)]]
        return sum(one.user + one.system for one in times)

    async def stop(self) -> None:
        """Let it drain."""
        self.process.terminate()
        await self.process.wait()


async def run_load(home: Path, asked: argparse.Namespace) -> Report:
    """Start the gateway, let everybody speak, and count."""
    import ray  # noqa: PLC0415  # its environment is prepared by now

    report = Report(sessions=asked.sessions, seconds=asked.seconds)
    gateway = Gateway(ray.get_runtime_context().gcs_address, home)
    url = (await gateway.start()).replace("http", "ws", 1)
    recorded = joined(_PAUSE_S)
    audio = soxr.resample(recorded, 16_000, RATE_HZ).astype("<i2")
    audio = audio[: len(audio) // (_CHUNK_BYTES // 2) * (_CHUNK_BYTES // 2)].tobytes()
    loop_ms = len(audio) // _BYTES_PER_MS
    speakers = [
        Speaker(url, audio, number * loop_ms // asked.sessions // CHUNK_MS * CHUNK_MS, report, asked.cut_every, number)
        for number in range(asked.sessions)
    ]
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(gateway.megabytes())
            await asyncio.sleep(_SAMPLE_EVERY_S)

    watching = asyncio.ensure_future(watch())
    before_s, began_s = gateway.cpu_s(), time.monotonic()
    await asyncio.gather(*(speaker.run(asked.seconds) for speaker in speakers))
    report.gateway_cpu = round((gateway.cpu_s() - before_s) / (time.monotonic() - began_s), 2)
    watching.cancel()
    await gateway.stop()
    late = [ms for speaker in speakers for ms in speaker.late_ms]
    lags = [ms for speaker in speakers for ms in speaker.lags_ms]
    if len(late) > 1:
        cuts = np.percentile(late, [50, 99])
        report.last_chunk_to_text_ms_p50, report.last_chunk_to_text_ms_p99 = (round(float(ms), 1) for ms in cuts)
    if len(lags) > 1:
        report.own_lag_ms_p99 = round(float(np.percentile(lags, 99)), 1)
    quarter = max(len(memory) // 4, 1)
    then, now = memory[quarter : 2 * quarter] or memory, memory[-quarter:]
    report.gateway_mb = (round(statistics.median(then), 1), round(statistics.median(now), 1))
    return report


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gateway", description=__doc__)
    parser.add_argument("--sessions", type=int, default=200, help="how many speak at once")
    parser.add_argument("--seconds", type=float, default=300, help="for how long")
    parser.add_argument("--cut-every", type=float, default=0, help="seconds, on average, until a connection is cut")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ray_sched-gateway-") as home,
        RunningCluster([echo_node("node-1", slots=64)], Path(home), cleanup=CleanupRules(keep_ms=10_000)) as cluster,
    ):
        report = to_builtins(cluster.run(run_load(Path(home), asked)))
    lines = [json.dumps(report)] if asked.json else [f"{name:28} {value}" for name, value in report.items()]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()

"""What HTTP adds to the client: ``python -m tests.benchmarks.rest [--requests 100] [--rounds 3]``. No test: a person
runs it.

One utterance of three seconds at a time, on the echo engine, which answers at once: by the client itself, by a gateway
that is an actor, and by Ray Serve's own FastAPI ingress, which decodes the same upload and hands it to a deployment
that answers as the echo engine does. They take turns, one round after another, on one cluster.
"""

import argparse
import asyncio
import io
import logging
import statistics
import tempfile
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import numpy as np
from fastapi import FastAPI, UploadFile

from ray_sched.bench.serve_variables import free_ports
from ray_sched.data import samples
from ray_sched.system.local import prepare_environment
from ray_sched.wire.samples import Samples
from tests.support.cluster import RunningCluster, echo_node

PATH = samples()[1].path
Ask = Callable[[], Awaitable[str]]
ingress = FastAPI()


class Echo:
    """What the echo engine does."""

    async def __call__(self, audio: Samples) -> str:
        return f"echo of {len(audio)} samples"


class Ingress:
    """Serve's way to the same answer."""

    def __init__(self, echo: object) -> None:
        self._echo = echo

    @ingress.post("/v1/audio/transcriptions")
    async def transcribe(self, file: UploadFile) -> dict[str, str]:
        with wave.open(io.BytesIO(await file.read())) as wav:
            audio = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
        return {"text": await self._echo.remote(audio)}  # type: ignore[attr-defined]  # a handle, which Serve puts here


def start_serve(port: int) -> str:
    from ray import serve  # noqa: PLC0415  # imports Ray: its environment first

    quiet = {"enable_access_log": False}
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    free = {"ray_actor_options": {"num_cpus": 0}, "max_ongoing_requests": 1_000, "logging_config": quiet}
    echo = serve.deployment(**free)(Echo).bind()
    serve.run(serve.deployment(**free)(serve.ingress(ingress)(Ingress)).bind(echo))
    return f"http://127.0.0.1:{port}"


async def measure(cluster: RunningCluster, n_requests: int, n_rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each request, by way."""
    from ray_sched.system.api import Client  # noqa: PLC0415  # as above

    content = PATH.read_bytes()
    took: dict[str, list[float]] = {"client": [], "gateway": [], "serve": []}
    (gateway,) = await cluster.scheduler.start_gateways("127.0.0.1:0", 1)
    (port,) = free_ports(1)
    serve = await asyncio.to_thread(start_serve, port)
    async with Client(cluster.settings) as client, httpx2.AsyncClient(timeout=30) as web:

        async def directly() -> str:
            return (await client.submit(content, src="en")).text

        def over_http(url: str) -> Ask:
            async def ask() -> str:
                answer = await web.post(f"{url}/v1/audio/transcriptions", files={"file": ("a.wav", content)})
                return str(answer.json()["text"])

            return ask

        ways: dict[str, Ask] = {"client": directly, "gateway": over_http(gateway), "serve": over_http(serve)}
        for _ in range(n_rounds):
            for name, ask in ways.items():
                for n in range(n_requests + 10):
                    begun = time.perf_counter()
                    assert (await ask()).startswith("echo of 47840")  # else there is nothing to compare
                    if n >= 10:  # the first ones are slower, whoever answers
                        took[name].append((time.perf_counter() - begun) * 1000)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as folder, RunningCluster([echo_node("node-1")], Path(folder)) as cluster:
        took = cluster.run(measure(cluster, asked.requests, asked.rounds))
    direct = statistics.median(took["client"])
    for name, each in took.items():
        median, late = statistics.median(each), statistics.quantiles(each, n=100)[98]
        print(f"{name:8} p50 {median:6.1f} ms  p99 {late:6.1f} ms  {median / direct:4.1f} x the client")  # noqa: T201


if __name__ == "__main__":
    main()

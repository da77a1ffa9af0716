"""An engine in Ray Serve, batched by ``@serve.batch``: as its documentation advises, one replica with one model.

The model runs in a thread beside the replica's event loop, as it may take seconds.
"""

import asyncio
import logging
from typing import Any, cast

from ray import serve

from ray_sched.agent.engine import BatchEngine
from ray_sched.bench.bare import item_of, loaded
from ray_sched.bench.contest import EngineLoad
from ray_sched.bench.load import Awaited
from ray_sched.bench.rivals.places import Place
from ray_sched.wire.samples import Samples

_MAX_ONGOING = 1_000
_NO_ACCESS_LOG = {"enable_access_log": False}


class ServeEngine:
    """The deployment."""

    def __init__(self, load: EngineLoad) -> None:
        self._engine = cast("BatchEngine", loaded(load, 1))
        cast("Any", self.recognise).set_max_batch_size(load.slots)

    @serve.batch(batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]  # Ray's types are not followed
    async def recognise(self, audios: list[Samples]) -> list[str]:
        """The texts of a batch that Serve has gathered."""
        outcomes = await asyncio.to_thread(self._engine.run_batch, [item_of(audio) for audio in audios])
        return [str(getattr(outcome, "text", outcome)) for outcome in outcomes]

    async def __call__(self, audio: Samples) -> str:
        """Called by a handle."""
        text: str = await cast("Any", self.recognise)(audio)
        return text


class ServeBatchRival(Awaited):
    """The handle as it is."""

    name = "serve-batch"
    note = "Serve's DeploymentHandle and @serve.batch, one replica, as many utterances as slots in a batch"

    def __init__(self, places: list[Place], load: EngineLoad) -> None:
        del places  # there is one
        self._load = load

    async def start(self) -> None:
        """Serve, and one replica with the model."""
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled", logging_config=_NO_ACCESS_LOG)
        app = serve.deployment(
            num_replicas=1,
            max_ongoing_requests=_MAX_ONGOING,
            ray_actor_options={"num_cpus": 0},
            logging_config=_NO_ACCESS_LOG,
        )(ServeEngine)
        self._handle = await asyncio.to_thread(serve.run, app.bind(self._load), name=self.name, route_prefix=None)

    async def echo(self, audio: Samples) -> str:
        """One awaited response."""
        text: str = await self._handle.remote(audio)
        return text

    async def stop(self) -> None:
        """Nothing: it ends with the cluster."""

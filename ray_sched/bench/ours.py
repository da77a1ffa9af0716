"""The scheduler as a contestant: the client that users import, everything on."""

from ray_sched.bench.load import Samples, Supply, closed, open_loop
from ray_sched.settings import Settings


class Ours:
    """``await client.submit(audio, src="en")``."""

    name = "ray_sched"
    titles: tuple[str, ...] = (
        "ray::DispatcherProcess",
        "ray::RegistryProcess",
        "ray::TimerProcess",
        "ray::PoolProcess",
        "ray::AgentProcess",
        "redis-server",
    )
    note = "ray_sched's Client; order, ledger, leases, fences and the commit to Redis are on"

    def __init__(self, settings: Settings) -> None:
        from ray_sched.system.api import Client  # noqa: PLC0415  # imports Ray, which reads its environment then

        self.client = Client(settings)

    async def start(self) -> None:
        """Join."""
        await self.client.__aenter__()

    async def _echo(self, audio: Samples) -> str:
        return (await self.client.submit(audio, src="en")).text

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """One awaited handle per job."""
        await closed(self._echo, supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """The same."""
        await open_loop(self._echo, supply, per_s)

    async def stop(self) -> None:
        """Leave."""
        await self.client.close()

"""The scheduler as a contestant: the client that users import, everything on."""

from ray_sched.bench.load import Awaited
from ray_sched.settings import Settings
from ray_sched.wire.samples import Samples


class OwnContestant(Awaited):
    """``await client.submit(audio, src="en")``."""

    name = "ray_sched"
    note = "ray_sched's Client; order, ledger, leases, fences and the commit to Redis are on"

    def __init__(self, settings: Settings) -> None:
        from ray_sched.system.api import Client  # noqa: PLC0415  # imports Ray, which reads its environment then

        self.client = Client(settings)

    async def start(self) -> None:
        """Join."""
        await self.client.__aenter__()

    async def echo(self, audio: Samples) -> str:
        """One awaited handle."""
        return (await self.client.submit(audio, src="en")).text

    async def stop(self) -> None:
        """Leave."""
        await self.client.close()

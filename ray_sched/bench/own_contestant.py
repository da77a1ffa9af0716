"""The scheduler as a contestant: the client that users import, everything on."""

from dataclasses import replace
from typing import ClassVar

from ray_sched.bench.load import Awaited
from ray_sched.settings import Settings
from ray_sched.wire.samples import Samples

_IN_CALL_BYTES = 8 * 2**20


class OwnContestant(Awaited):
    """``await client.submit(audio, src="en")``."""

    name = "ray_sched"
    note = "ray_sched's Client; order, ledger, leases, fences and the commit to Redis are on"
    engine_options: ClassVar[dict[str, str]] = {}
    """Of its node's engine, beside those that everybody has."""

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


class InCallContestant(OwnContestant):
    """The same, with all audio of up to 8 MiB a push in the call instead of the object store."""

    name = "in-call"
    note = "ray_sched's Client with client.inline_bytes at 8 MiB: audio goes in the call where Ray carries it"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.model_copy(update={"client": replace(settings.client, inline_bytes=_IN_CALL_BYTES)}))


class BatchedContestant(OwnContestant):
    """The same, whose engine takes as many utterances into a pass as there are slots."""

    name = "batched"
    note = "ray_sched with option max-batch: what waits for the model shares its next pass"
    engine_options: ClassVar[dict[str, str]] = {"max-batch": "64"}


class CopiesContestant(OwnContestant):
    """The same, with a process and a copy of the model for each slot."""

    name = "copies"
    note = "ray_sched with option isolation=process_per_slot: a copy of the model for each slot"
    engine_options: ClassVar[dict[str, str]] = {"isolation": "process_per_slot", "cpu-threads": "1"}


OWN = {kind.name: kind for kind in (OwnContestant, InCallContestant, BatchedContestant, CopiesContestant)}
"""All that are the scheduler itself."""

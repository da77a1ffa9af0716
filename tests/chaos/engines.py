"""The echo engine with a process for each slot, so that an engine can be killed."""

from typing import ClassVar, Literal

from ray_sched.agent.engines.echo import EchoEngine


class IsolatedEcho(EchoEngine):
    """``tests.chaos.engines.IsolatedEcho``."""

    isolation: ClassVar[Literal["thread", "process"]] = "process"

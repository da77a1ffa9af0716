"""The echo engine with a process for each slot, so that an engine can be killed."""

from typing import ClassVar

from ray_sched.agent.engine import Isolation
from ray_sched.agent.engines.echo import EchoEngine


class IsolatedEcho(EchoEngine):
    """``tests.chaos.engines.IsolatedEcho``."""

    isolation: ClassVar[Isolation] = "process"

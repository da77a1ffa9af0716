"""The host of an engine that cannot even be made: a wrong name or option in the node's labels.

The node joins all the same, never ready, and every heartbeat reports what is wrong.
"""

from collections.abc import Callable
from typing import NoReturn

from ray_sched.agent.engine import EngineResult, Work
from ray_sched.core.capability import Capability
from ray_sched.core.errors import SchedError
from ray_sched.wire.samples import Samples


class FailedHost:
    """Raises its error at ``start``; nothing is ever run on it."""

    progress = ""
    loads_in_s = 0.0
    loads_within_s = 0

    def __init__(self, error: SchedError) -> None:
        self._error = error

    async def start(self) -> None:
        """Raise the error."""
        raise self._error

    async def stop(self) -> None:
        """Nothing was started."""

    def capability(self) -> Capability:
        """Not called: the engine is not loaded."""
        self._refuse()

    def admit(self, work: Work) -> str | None:
        """Why nothing is accepted."""
        del work
        return self._error.message

    async def run(
        self, work: Work, audio: Samples, emit_partial: Callable[[str], None], handle_loaded: Callable[[], None]
    ) -> EngineResult:
        """Not called: nothing is admitted."""
        del work, audio, emit_partial, handle_loaded
        self._refuse()

    @property
    def is_stuck(self) -> bool:
        """Never: nothing runs."""
        return False

    def _refuse(self) -> NoReturn:
        raise self._error

    @property
    def why_unhealthy(self) -> str:
        """What is wrong."""
        return self._error.message

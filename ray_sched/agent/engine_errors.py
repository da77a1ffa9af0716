"""How a run can fail beside the errors that engines raise by themselves (:mod:`ray_sched.agent.engine`)."""

from ray_sched.agent.engine import ModelNotAvailableError, RefusedError
from ray_sched.agent.engine_messages import describe_error


class EngineCrashedError(Exception):
    """The engine's process ended in the middle of a run; the sentence names the signal or status."""

    def __init__(self, message: str, *, was_alone: bool = True) -> None:
        """``was_alone``: nothing else was in the pass."""
        super().__init__(message)
        self.was_alone = was_alone


class EngineFailedError(Exception):
    """The engine raised an error; the sentence holds its type and text, and the engine lives on."""


def as_run_error(error: BaseException) -> BaseException:
    """What a run raises for an error of its engine: the protocol's own as it is, any other as EngineFailedError."""
    if isinstance(error, ModelNotAvailableError | RefusedError):
        return error
    failed = EngineFailedError(describe_error(error))
    failed.__cause__ = error
    return failed

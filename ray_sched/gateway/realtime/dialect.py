"""What both kinds of sessions have in common of their events."""

from typing import Any, Protocol

from ray_sched.client.results import Result
from ray_sched.core.errors import Refusal
from ray_sched.core.turns.effects import TurnEffect
from ray_sched.core.turns.rules import SAMPLES_PER_MS
from ray_sched.gateway.realtime.wishes import WishError
from ray_sched.gateway.refusals import refusal_body

Event = dict[str, Any]


class Dialect(Protocol):
    """How what a session does is told in one kind of session."""

    def tell(self, effect: TurnEffect, result: Result | None) -> list[Event]:
        """The events of an effect, without their ids. ``result``: of the piece that it is about."""
        ...


def milliseconds(samples: int) -> int:
    """Of a position."""
    return samples // SAMPLES_PER_MS


def error_of(refusal: Refusal) -> dict[str, Any]:
    """``{"type", "code", "message", "param"}``."""
    return refusal_body(refusal)["error"]  # type: ignore[no-any-return]  # a dictionary


def error_event(error: dict[str, Any], event_id: str | None = None) -> Event:
    """What is told when a message cannot be right. Clients hang up on it, so it is told of nothing else."""
    return {"type": "error", "error": {**error, "event_id": event_id}}


def wish_error_event(error: WishError, event_id: str | None) -> Event:
    """The same for a message that was refused."""
    told = {"type": "invalid_request_error", "code": error.code, "message": str(error), "param": error.param}
    return error_event(told, event_id)

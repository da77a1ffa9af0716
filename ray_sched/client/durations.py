"""Durations as people and callers give them, in seconds, and as messages carry them, in whole milliseconds."""

from ray_sched.core.errors import Code, SchedError

_LONGEST_S = 30 * 24 * 3600


def milliseconds(seconds: object, what: str) -> int:
    """Whole milliseconds. Raises SchedError INVALID_MESSAGE for what is no time: negative, endless, not a number."""
    if isinstance(seconds, int | float) and 0 <= seconds <= _LONGEST_S:  # false for what is not a number
        return round(seconds * 1000)
    given = f"{seconds:g}" if isinstance(seconds, float) else f"such a {type(seconds).__name__}"
    raise SchedError(Code.INVALID_MESSAGE, f"{what} is a number of seconds up to {_LONGEST_S}, not {given}")

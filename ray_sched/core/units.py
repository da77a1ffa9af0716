"""Times as people read them."""

_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
_EXACT_MS = 10_000
"""Up to here a tenth of a second is told."""


def shown_ms(ms: float | None) -> str:
    """A duration: ``340 ms``, ``2.7 s``, ``48 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 1 h``; empty for none."""
    if ms is None:
        return ""
    if ms < _SECOND_MS:
        return f"{ms:.0f} ms"
    if ms < _EXACT_MS:
        return f"{ms // 100 / 10:g} s"
    if ms < _MINUTE_MS:
        return f"{ms // _SECOND_MS:.0f} s"
    if ms < _HOUR_MS:
        return _two(ms, _MINUTE_MS, "min", _SECOND_MS, "s")
    if ms < _DAY_MS:
        return _two(ms, _HOUR_MS, "h", _MINUTE_MS, "min")
    return _two(ms, _DAY_MS, "d", _HOUR_MS, "h")


def short_ms(ms: float | None) -> str:
    """A duration in a column: ``340ms``, ``2.7s``, ``4m10s``, ``2h5m``, ``3d1h``; empty for none."""
    return shown_ms(ms).replace("min", "m").replace(" ", "")


def _two(ms: float, large_ms: int, large: str, small_ms: int, small: str) -> str:
    n_large, rest_ms = divmod(ms, large_ms)
    n_small = rest_ms // small_ms
    return f"{n_large:.0f} {large}" + (f" {n_small:.0f} {small}" if n_small else "")


def counted(number: int, one: str, many: str = "") -> str:
    """``1 job``, ``2 jobs``; ``many`` where it is not the word with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"

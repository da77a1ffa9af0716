"""The clock of the shells. Cores are passed ``now_ms`` and never read it."""

import time


class Clock:
    """Milliseconds since 1970 that never go back while a process lives, even if the machine's time is set."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        """The time now."""
        return (self._offset_ns + time.monotonic_ns()) // 1_000_000

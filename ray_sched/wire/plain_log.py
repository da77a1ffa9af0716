"""Log lines of this package's own processes: one line each, whatever strangers have named (``core.plain``)."""

import logging

from ray_sched.core.plain import plain, plain_lines


class PlainFormatter(logging.Formatter):
    """A message is one line; only a traceback after it has several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the standard library's name
        """The line, without what acts on a terminal or begins another line."""
        return plain(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802  # as above
        """A traceback quotes messages, too."""
        return plain_lines(super().formatException(ei))  # type: ignore[arg-type]  # passed on as it is


def log_plainly() -> None:
    """Have every handler of this process's root logger write so, each in its own format."""
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter or logging.Formatter()
        handler.setFormatter(PlainFormatter(formatter._fmt, formatter.datefmt))  # noqa: SLF001  # there is no other way to ask

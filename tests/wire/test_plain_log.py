"""Log lines of strangers' names are single and plain."""

import io
import logging

from ray_sched.wire.plain_log import PlainFormatter

TITLE = "\x1b]0;yours\x07"


def logged(message: str, *args: object, error: Exception | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(levelname)s %(message)s"))
    info = (type(error), error, error.__traceback__) if error else None
    handler.handle(logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, info))
    return stream.getvalue()


def test_a_name_neither_acts_nor_begins_a_line() -> None:
    assert (
        logged("job %s ended", f"a{TITLE}\nERROR forged") == r"WARNING job a\x1b]0;yours\x07\nERROR forged ended" + "\n"
    )


def test_a_traceback_keeps_its_lines_and_is_plain() -> None:
    written = logged("it failed", error=ValueError(TITLE))
    assert written.splitlines() == ["WARNING it failed", r"ValueError: \x1b]0;yours\x07"]

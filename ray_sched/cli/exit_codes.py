"""Exit statuses, and the sentences that go with them."""

from collections import defaultdict

from ray_sched.core.errors import EXIT_STATUS, Code

UNHEALTHY = 18
"""All was asked and answered, and something is not as it should be."""
UNKNOWN = 70
"""An error nobody foresaw: a defect of the program."""
INTERRUPTED = 130
"""Ctrl-C."""
READER_GONE = 141
"""Whoever read stdout has closed it: 128 and SIGPIPE, as shells have it."""
_OTHERS = {
    0: "done",
    1: "another failed job",
    2: "wrong command line",
    UNHEALTHY: "unhealthy",
    UNKNOWN: "a defect, see --verbose",
}
_OTHERS |= {INTERRUPTED: "Ctrl-C", READER_GONE: "stdout was closed", 143: "SIGTERM"}


def epilog() -> str:
    """All exit statuses in one paragraph, for ``--help``."""
    meanings: dict[int, list[str]] = defaultdict(list)
    for code, number in EXIT_STATUS.items():
        meanings[number].append(code.lower().replace("_", " "))
    sentences = {number: " or ".join(names) for number, names in meanings.items()} | _OTHERS
    return "Exit status: " + ", ".join(f"{number} {sentences[number]}" for number in sorted(sentences)) + "."


def exit_status(code: Code | None) -> int:
    """For the error of a job; None for one that completed."""
    return 0 if code is None else EXIT_STATUS.get(code, 1)

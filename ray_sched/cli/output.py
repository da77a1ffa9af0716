"""What a person or a program reads: results on stdout, everything else on stderr.

With ``--json`` stdout carries one JSON value and nothing more, whoever prints. Without a terminal there are no
control characters and no progress bars, only a line for each step.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 200
_WHOLE = ("file", "job", "node", "pair", "status")
"""Columns that stay on one line on a narrow terminal; texts are folded instead."""


def _console(file: Any) -> Console:
    from ray_sched.settings import is_width_set

    is_plain = not file.isatty() and not is_width_set()
    return Console(file=file, width=_PIPE_WIDTH if is_plain else None, highlight=False, emoji=False, markup=False)


class Output:
    """The two streams of one call."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self._stdout = sys.stdout
        self._page = _console(sys.stdout)
        self._notes = _console(sys.stderr)
        self._spinner: Status | None = None
        self.has_shown = False
        """Whether the result is out."""

    def show(self, data: Any, *page: RenderableType) -> None:
        """The result of the verb: ``data`` for programs, ``page`` for people."""
        self.has_shown = True
        if self.is_json:
            self._stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
            self._stdout.flush()
            return
        for part in page:
            self._page.print(part, soft_wrap=isinstance(part, str))

    def note(self, sentence: str) -> None:
        """A sentence beside the result."""
        self._notes.print(sentence, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches stderr."""
        return self._notes.is_terminal

    @property
    def page(self) -> Console:
        """For what redraws itself."""
        return self._page

    @contextmanager
    def steps(self) -> Iterator["Output"]:
        """A spinner that shows what is being done, set with ``step``."""
        if self._notes.is_terminal:
            self._spinner = self._notes.status("")
            self._spinner.start()
        try:
            yield self
        finally:
            if self._spinner:
                self._spinner.stop()
                self._spinner = None

    def step(self, what: str) -> None:
        """What is done now."""
        if self._spinner:
            self._spinner.update(what)
        else:
            self.note(what)

    def stopping(self) -> None:
        """A signal has come: the spinner shows it at once."""
        if self._spinner:
            self._spinner.update("stopping what was started")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """A progress bar with one task of this many parts; hidden without a terminal."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._notes, transient=True, disable=not self._notes.is_terminal) as progress:
            progress.add_task(what, total=total)
            yield progress


def table(*columns: str, title: str = "", right: tuple[str, ...] = ()) -> Table:
    """An empty table; columns named in ``right`` are numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, collapse_padding=True)
    for name in columns:
        is_number = name in right
        is_whole = is_number or name in _WHOLE
        heading = name.replace(" ", "\n") if is_number else name
        made.add_column(heading, justify="right" if is_number else "left", no_wrap=is_whole, overflow="fold")
    return made


def add_row(to: Table, *cells: Any) -> None:
    """A row; what is not there is a dash."""
    to.add_row(*(Text("-" if cell is None or cell == "" else str(cell)) for cell in cells))

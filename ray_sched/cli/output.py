r"""What a person or a program reads: results on stdout, everything else on stderr.

With ``--json`` stdout carries one JSON value and nothing more, whoever prints; with ``--stream`` one JSON value on each
line. Without a terminal there are no control characters and no progress bars, only a line for each step. What strangers
named is shown plain (``core.plain``); in JSON it is as it was, also the name of a file whose bytes are no text.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Literal

import msgspec
import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ray_sched.core.plain import plain

_PIPE_WIDTH = 200
_WIDE = 2_000
_WHOLE = ("job", "node", "status")
"""Columns of single words: they stay whole on a narrow terminal, as numbers do, and texts are folded."""
_LEAST_WIDTH = 6
"""Characters to which a column of texts is folded on a narrow terminal."""


def _console(file: Any, width: int | None = None) -> Console:
    """``width``: whatever there is room for, as in ``-o wide``, whose lines a terminal breaks itself."""
    from ray_sched.settings import is_width_set

    is_plain = not file.isatty() and not is_width_set()
    room = width or (_PIPE_WIDTH if is_plain else None)
    return Console(file=file, width=room, highlight=False, emoji=False, markup=False)


class ResultStream:
    """stdout that loses no result: what it does not take, because the disk is full, goes to stderr."""

    def __init__(self, stream: Any, notify: Callable[[str], None], *, is_json: bool) -> None:
        """``notify`` is given the sentence that says why stdout takes no more."""
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", **({"encoding": "utf-8"} if is_json else {}))
        self._stream = stream
        self._notify = notify
        self.is_given_up = False
        """Results go to stderr."""

    @property
    def encoding(self) -> str:
        """Of stdout."""
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether a person watches stdout."""
        return bool(self._stream.isatty())

    def write(self, text: str) -> int:
        """Write and flush. Raises BrokenPipeError when the reader has gone."""
        if not self.is_given_up:
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                self._give_up()
                raise
            except OSError as error:
                self._give_up()
                self._notify(f"stdout cannot be written ({error.strerror}); what is not there follows here")
            else:
                return len(text)
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Everything is flushed when it is written."""

    def _give_up(self) -> None:
        """Let what is still buffered go nowhere, or the interpreter tries again at its end."""
        self.is_given_up = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()


class Output:
    """The two streams of one call."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.is_stream = False
        """JSON values are lines, one for each part of the result."""
        self._stdout = ResultStream(sys.stdout, lambda sentence: self.note(f"ray-sched: {sentence}"), is_json=is_json)
        self._page = _console(self._stdout)
        self._notes = _console(sys.stderr)
        self._spinner: Status | None = None
        self._progress: Progress | None = None
        self.has_shown = False
        """Whether the result, or a part of it, is out."""

    def show(self, data: Any, *page: RenderableType, is_wide: bool = False) -> None:
        """The result of the verb: ``data`` for programs, ``page`` for people; ``is_wide``: no line of it is folded."""
        self.has_shown = True
        if self.is_json:
            self._stdout.write(_json(data, is_line=self.is_stream))
            return
        console = _console(self._stdout, _WIDE) if is_wide else self._page
        for part in page:
            console.print(plain(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))

    def show_part(self, data: Any, *page: RenderableType) -> None:
        """A part of the result, as soon as it is there; a progress bar steps aside for it."""
        bar = self._progress if self._page.is_terminal and not self.is_json else None
        if bar:
            bar.stop()
        self.show(data, *page)
        if bar:
            bar.start()

    @property
    def is_lost(self) -> bool:
        """Whether results had to go to stderr."""
        return self._stdout.is_given_up

    def note(self, sentence: str) -> None:
        """A sentence beside the result."""
        self._notes.print(plain(sentence), soft_wrap=True)

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
            self._spinner.update(Text(plain(what)))
        else:
            self.note(what)

    def stopping(self) -> None:
        """A signal has come: the spinner shows it at once."""
        if self._spinner:
            self._spinner.update("stopping what was started")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Progress]:
        """A progress bar with one task of this many parts, or of nobody knows how many; hidden without a terminal."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._notes, transient=True, disable=not self._notes.is_terminal) as progress:
            progress.add_task(what, total=total)
            self._progress = progress if self._notes.is_terminal else None
            try:
                yield progress
            finally:
                self._progress = None


def _json(data: Any, *, is_line: bool) -> str:
    try:
        raw = msgspec.json.encode(data)
    except UnicodeEncodeError:  # half characters: JSON has escapes for them, which msgspec does not write
        return json.dumps(msgspec.to_builtins(data, str_keys=True), indent=None if is_line else 2) + "\n"
    return (raw if is_line else msgspec.json.format(raw, indent=2)).decode() + "\n"


def table(*columns: str, title: str = "", right: tuple[str, ...] = ()) -> Table:
    """An empty table; columns named in ``right`` are numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, collapse_padding=True)
    for name in columns:
        is_number = name in right
        heading = name.replace(" ", "\n") if is_number else name
        is_whole = is_number or name in _WHOLE
        width = None if is_whole else _LEAST_WIDTH
        justify: Literal["right", "left"] = "right" if is_number else "left"
        made.add_column(heading, justify=justify, no_wrap=is_whole, overflow="fold", min_width=width)
    return made


class Layout(StrEnum):
    """How much of a row is shown."""

    NARROW = "narrow"
    """What fits into 80 columns."""
    WIDE = "wide"


LAYOUT = typer.Option("--output", "-o", help="How much to show of each row.")


def add_row(to: Table, *cells: Any) -> None:
    """A row; what is not there is a dash."""
    to.add_row(*(Text("-" if cell is None or cell == "" else plain(str(cell))) for cell in cells))

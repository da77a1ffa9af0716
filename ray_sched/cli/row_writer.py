"""One row for each file of ``submit``, written as soon as it is there, whatever becomes of the others.

People get a line at a time, programs one JSON value at the end or, with ``--stream``, a JSON line at a time. A call
that is interrupted, or whose scheduler ends, has the rows that were there; with JSON the other files have one, too,
that says why.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table

from ray_sched.cli.exit_codes import exit_status
from ray_sched.cli.output import Output, add_row
from ray_sched.cli.rows import NUMBERS, Row, RowError, shown_pair, shown_text, speech_sentences
from ray_sched.core.errors import Code, Refusal, SchedError, printable
from ray_sched.core.plain import plain

_WIDEST_NAME = 40
_NODE_WIDTH = 12
_INTERRUPTED = Refusal(code=Code.CANCELLED, message="interrupted before it had ended")


class RowWriter:
    """The rows of one call."""

    def __init__(self, out: Output, files: list[Path], pair: str, *, has_translation: bool) -> None:
        self._out = out
        self._files = files
        self._pair = pair
        self._lines = _Lines([file.name for file in files], pair, has_translation=has_translation)
        self._rows: dict[int, Row] = {}
        self._has_ended = False

    def add(self, number: int, row: Row) -> None:
        """The row of the file with this number, from 0."""
        self._rows[number] = row
        if row.error:
            name = f"{Path(row.file).name}: "
            self._out.note(f"ray-sched: {'' if printable(row.file) in row.error.message else name}{row.error.message}")
        if row.audio_notes:
            self._out.note(f"ray-sched: {Path(row.file).name}: {'; '.join(row.audio_notes)}")
        if not self._out.is_json:
            self._out.show_part(row, *self._lines.of(row))
        elif self._out.is_stream:
            self._out.show_part(row)

    @contextmanager
    def whatever_happens(self) -> Iterator[None]:
        """End with what is there when the block is left by Ctrl-C or an error."""
        try:
            yield
        except asyncio.CancelledError:
            self._end(_INTERRUPTED)
            raise
        except SchedError as error:
            self._end(error.refusal)
            raise
        except BrokenPipeError:
            raise
        except Exception:  # a surprise, which is told elsewhere
            self._end(None)
            raise

    def end(self, why: Refusal | None = None) -> int:
        """Write what is still to be written and return the exit status; ``why``: there are no more rows than these."""
        if why and not self._out.is_json and len(self._rows) < len(self._files):
            n_left = len(self._files) - len(self._rows)
            self._out.note(f"ray-sched: {n_left} files were not submitted any more: {why.message}")
        rows = self._end(why)
        return next((exit_status(row.error.code) for row in rows if row.error), 0)

    def _end(self, why: Refusal | None) -> list[Row]:
        if self._has_ended:
            return []
        self._has_ended = True
        if why and self._out.is_json and self._rows:
            for number, file in enumerate(self._files):
                if number not in self._rows:
                    row = Row(file=str(file), status="cancelled", pair=self._pair, error=RowError.of(why))
                    self._end_without(number, row)
        rows = [row for _, row in sorted(self._rows.items())]
        if not self._out.is_json:
            self._out.show(rows, *speech_sentences(rows))
        elif rows and not self._out.is_stream:
            self._out.show(rows)
        return rows

    def _end_without(self, number: int, row: Row) -> None:
        self._rows[number] = row
        if self._out.is_stream:
            self._out.show_part(row)


class _Lines:
    """A table whose rows come one at a time: its columns are as wide as what is known before the first."""

    def __init__(self, names: list[str], pair: str, *, has_translation: bool) -> None:
        widest = max(len(plain(name)) for name in names)
        self._widths = {"file": max(min(widest, _WIDEST_NAME), 4), "node": _NODE_WIDTH, "pair": len(pair)}
        self._has_translation = has_translation
        self._has_begun = False

    def of(self, row: Row) -> list[RenderableType]:
        """The line of a row; before the first one the headings."""
        texts = [shown_text(row), *([row.translation] if self._has_translation else [])]
        line = self._table()
        add_row(line, Path(row.file).name, row.node, shown_pair(row), row.audio_s, row.wait_ms, row.run_ms, *texts)
        if self._has_begun:
            return [line]
        self._has_begun = True
        headings = self._table()
        add_row(headings, *self._widths, *NUMBERS, "text", *(["translation"] if self._has_translation else []))
        return [headings, line]

    def _table(self) -> Table:
        made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=self._has_translation)
        for width in self._widths.values():
            made.add_column(width=width, overflow="fold")
        for name in NUMBERS:
            made.add_column(width=len(name), justify="right", no_wrap=True)
        made.add_column(ratio=1, overflow="fold")
        if self._has_translation:
            made.add_column(ratio=1, overflow="fold")
        return made

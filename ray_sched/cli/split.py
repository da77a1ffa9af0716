"""``ray-sched submit --split``: hours of speech in, a transcript with times out, one recording after another."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from msgspec import Struct

from ray_sched.cli.call import Call
from ray_sched.cli.exit_codes import exit_status
from ray_sched.cli.language_check import is_covered, not_covered
from ray_sched.cli.rows import RowError
from ray_sched.cli.scheduler_watch import while_it_runs
from ray_sched.cli.transcripts import (
    Format,
    Kept,
    PassageRow,
    TranscriptFolder,
    TranscriptLines,
    TranscriptPage,
    Writer,
)
from ray_sched.core.capability import Demand
from ray_sched.core.errors import Code, Refusal, SchedError, printable
from ray_sched.core.views.subtitles import clock_time

if TYPE_CHECKING:
    from ray_sched.audio import AudioReport
    from ray_sched.client.long import Passage
    from ray_sched.system.api import Client

_ENDED = (Code.SCHEDULER_NOT_RUNNING, Code.SHUTTING_DOWN, Code.NO_AVAILABLE_NODE)
"""Errors of a passage after which no other one need be tried."""


_HOPELESS = (*_ENDED, Code.MISSING_PART, Code.INVALID_CONFIGURATION)
"""Errors of a recording after which no other one need be tried."""
_INTERRUPTED = Refusal(code=Code.CANCELLED, message="interrupted before it had ended")


class RecordingRow(Struct, kw_only=True):
    """One recording, for programs."""

    file: str
    pair: str
    transcript_file: str = ""
    """Where its transcript was written, with ``--out``."""
    passages: list[PassageRow]
    audio_is_whole: bool | None = None
    """False when a part of it is known or suspected to be missing; none while that is not known, before its end."""
    audio_notes: tuple[str, ...] = ()
    """What was repaired in the audio, and what is doubtful, a sentence each."""
    error: RowError | None = None
    """Why it has no more passages."""

    def heard(self, report: "AudioReport") -> None:
        """Its audio was decoded to its end."""
        self.audio_is_whole, self.audio_notes = report.whole, report.notes


async def split_files(  # one parameter per thing that decides where transcripts go
    call: Call, files: list[Path], demanded: Demand, options: dict[str, Any], form: Format | None, out: Path | None
) -> int:
    """Transcribe recordings, one after another, to stdout or into files; the exit status is that of the first failure.

    ``options``: of ``Client.transcribe_long``. Raises BadParameter for options that do not go together.
    """
    if form and out is None and call.out.is_json:
        raise typer.BadParameter(
            "--format and --json both write to stdout; give a folder for the transcripts with --out"
        )
    if form in {Format.SRT, Format.VTT} and out is None and len(files) > 1:
        raise typer.BadParameter(f"--format {form} is one file for each recording; give their folder with --out")
    folder = None if out is None else TranscriptFolder(out, form or Format.TEXT, files)
    return await _Split(call, demanded, options, form or Format.TEXT, folder).run(files)


class _Split:
    """The recordings of one call and what became of them."""

    def __init__(
        self, call: Call, demanded: Demand, options: dict[str, Any], form: Format, folder: TranscriptFolder | None
    ) -> None:
        self._out = call.out
        self._call = call
        self._demanded = demanded
        self._options = options
        self._form = form
        self._folder = folder
        self._done: list[RecordingRow] = []
        self._begun: RecordingRow | None = None
        self._status = 0

    async def run(self, files: list[Path]) -> int:
        """Transcribe the recordings; the exit status is that of the first failure. Raises MISSING_PART at once."""
        from ray_sched.client.voice import check_installed
        from ray_sched.system.api import Client

        check_installed()
        settings = self._call.settings
        with self._whatever_happens(files):
            async with self._call.scheduler() as scheduler:
                nodes = await scheduler.nodes()
                if not is_covered(self._demanded, nodes):
                    raise not_covered(self._demanded, nodes)
                async with Client(settings, tenant=self._demanded.tenant) as client:
                    await while_it_runs(scheduler, settings.client.retry_for_ms / 1000, self._all(client, files))
        return self._status

    @contextmanager
    def _whatever_happens(self, files: list[Path]) -> Iterator[None]:
        """With ``--json``, end with what is there and a row for each other file that says why it has no passages."""
        why = None
        try:
            yield
            why = next((row.error for row in reversed(self._done) if row.error), None)
        except asyncio.CancelledError:
            why = RowError.of(_INTERRUPTED)
            raise
        except SchedError as error:
            why = RowError.of(error.refusal)
            raise
        finally:
            if self._out.is_json and not self._out.is_stream and (self._done or self._begun):
                self._out.show(self._rows(files, why))

    def _rows(self, files: list[Path], why: RowError | None) -> list[RecordingRow]:
        rows = [*self._done]
        if self._begun:
            self._begun.error = why
            rows.append(self._begun)
        return rows + [self._row(file, why) for file in files[len(rows) :]]

    def _row(self, file: Path, error: RowError | None = None) -> RecordingRow:
        return RecordingRow(file=str(file), pair=self._demanded.pair, passages=[], error=error)

    async def _all(self, client: "Client", files: list[Path]) -> None:
        for number, file in enumerate(files):
            row = self._begun = self._row(file)
            try:
                await self._one(client, file, row)
            except SchedError as error:
                row.error = RowError.of(error.refusal)
                self._fail(file, error.refusal)
            self._done.append(row)
            self._begun = None
            if row.error and row.error.code in _HOPELESS:
                n_left = len(files) - number - 1
                if n_left and not self._out.is_json:
                    self._out.note(f"ray-sched: {n_left} files were not submitted any more")
                return

    async def _one(self, client: "Client", file: Path, row: RecordingRow) -> None:
        n_passages = 0
        total_s = await asyncio.to_thread(_seconds, file)
        progress = self._out.progress(f"seconds of {printable(file.name)}", total_s)
        with closing(self._transcript(file, row)) as transcript, progress as bar:
            long = client.transcribe_long(file, on_report=row.heard, **self._options)
            async with aclosing(long) as passages:
                async for passage in passages:
                    n_passages += 1
                    transcript.add(PassageRow.of(file, passage))
                    bar.update(bar.task_ids[0], completed=math.floor(passage.end_s))
                    self._look(file, passage)
        if n_passages == 0:
            self._out.note(f"ray-sched: {file}: nobody speaks in it")
        if row.transcript_file and not self._out.is_json:
            self._out.show_part(None, row.transcript_file)

    def _look(self, file: Path, passage: "Passage") -> None:
        if passage.error is None:
            return
        if passage.error.code in _ENDED:
            raise SchedError.of(passage.error)
        self._fail(file, passage.error, f" at {clock_time(passage.start_s)}")

    def _transcript(self, file: Path, row: RecordingRow) -> Writer:
        if self._folder:
            to = self._folder.open(file)
            row.transcript_file = str(to.path)
            return Kept(row.passages, to) if self._out.is_json else to
        if self._out.is_stream:
            return TranscriptLines(self._out)
        return Kept(row.passages, None) if self._out.is_json else TranscriptPage(self._out, self._form)

    def _fail(self, file: Path, refusal: Refusal, where: str = "") -> None:
        self._status = self._status or exit_status(refusal.code)
        name = "" if str(file) in refusal.message else f"{file}{where}: "
        self._out.note(f"ray-sched: {name}{refusal.message}")


def _seconds(file: Path) -> int | None:
    """About how long a recording is; None where that is not easily known."""
    from ray_sched.audio import Limits, duration_of

    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            return (
                math.ceil(duration_of(stream, str(file), Limits(max_duration_s=math.inf), allow_partial=True)) or None
            )
    except (SchedError, OSError):
        return None  # it is said when it is read

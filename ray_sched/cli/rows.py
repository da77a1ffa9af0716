"""Results as ``demo`` and ``submit`` print them, and the sound files they write."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.console import RenderableType
from rich.table import Table

from ray_sched.cli.output import add_row, table
from ray_sched.core.capability import AUTO
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.recognition import Segment, Word

if TYPE_CHECKING:
    from ray_sched.client.results import Result


class RowError(Struct, frozen=True, kw_only=True):
    """What went wrong with one file."""

    code: Code
    message: str

    @classmethod
    def of(cls, refusal: Refusal) -> "RowError":
        """As far as a row tells it."""
        return cls(code=refusal.code, message=refusal.message)


class RowPart(Struct, frozen=True, kw_only=True):
    """A segment or a word, with names for its fields: messages leave them out."""

    start_ms: int
    end_ms: int
    text: str
    confidence: float | None

    @classmethod
    def all_of(cls, parts: "tuple[Segment, ...] | tuple[Word, ...]") -> "tuple[RowPart, ...]":
        """The parts of a result."""
        return tuple(
            cls(start_ms=it.start_ms, end_ms=it.end_ms, text=it.text, confidence=it.confidence) for it in parts
        )


class Row(Struct, kw_only=True):
    """One file and what became of it."""

    file: str
    job_id: str = ""
    status: str = "refused"
    node: str = ""
    pair: str = ""
    text: str = ""
    translation: str = ""
    language: str = ""
    """What was spoken, as the node has found it or as it was said."""
    model: str = ""
    segments: tuple[RowPart, ...] = ()
    words: tuple[RowPart, ...] = ()
    """Words with their times, if they were asked for."""
    audio_s: float = 0.0
    audio_is_whole: bool = True
    """False when a part of the audio is known or suspected to be missing."""
    audio_notes: tuple[str, ...] = ()
    """What was repaired in the audio, and what is doubtful."""
    wait_ms: int = 0
    """From submission until a node had the audio."""
    run_ms: int = 0
    wer: float | None = None
    """Word error rate, where the transcript is known."""
    speech_file: str = ""
    error: RowError | None = None

    @classmethod
    def of(cls, file: Path, result: "Result") -> "Row":
        """The row of a result."""
        return cls(
            file=str(file),
            job_id=result.job_id,
            status=result.status,
            node=result.node,
            pair=result.pair,
            text=result.text,
            translation=result.translation,
            language=result.language,
            model=result.model,
            segments=RowPart.all_of(result.segments),
            words=RowPart.all_of(result.words),
            audio_s=round(result.audio_ms / 1000, 3),
            audio_is_whole=result.audio_is_whole,
            audio_notes=result.audio_notes,
            wait_ms=result.wait_ms,
            run_ms=result.run_ms,
            error=RowError.of(result.error) if result.error else None,
        )

    @classmethod
    def refused(cls, file: Path, pair: str, error: SchedError) -> "Row":
        """The row of a file that was never submitted."""
        return cls(file=str(file), pair=pair, error=RowError.of(error.refusal))


def rows_page(rows: list[Row]) -> list[RenderableType]:
    """For people: the table, and where the speech is."""
    return [rows_table(rows), *speech_sentences(rows)]


def speech_sentences(rows: list[Row]) -> list[RenderableType]:
    """Where the speech is."""
    folders = sorted({str(Path(row.speech_file).parent) for row in rows if row.speech_file})
    n_files = sum(bool(row.speech_file) for row in rows)
    return [f"speech: {n_files} files in {folder}" for folder in folders]


def rows_table(rows: list[Row]) -> Table:
    """For people; columns nobody filled are left out."""
    extra = {name: heading for name, heading in _EXTRA.items() if any(getattr(row, name) for row in rows)}
    if any(row.wer is not None for row in rows):
        extra["wer"] = "WER %"
    made = table("file", "node", "pair", "text", *NUMBERS, *extra.values(), right=(*NUMBERS, "WER %"))
    for row in rows:
        more = (_cell(row, name) for name in extra)
        add_row(
            made,
            Path(row.file).name,
            row.node,
            shown_pair(row),
            shown_text(row),
            row.audio_s,
            row.wait_ms,
            row.run_ms,
            *more,
        )
    return made


NUMBERS = ("audio s", "wait ms", "run ms")
"""Headings of the columns of numbers."""
_EXTRA = {"translation": "translation"}


def shown_pair(row: Row) -> str:
    """The pair, with the language that was found in the place of ``auto``."""
    return row.pair.replace(AUTO, row.language) if row.language else row.pair


def shown_text(row: Row) -> str:
    """What was said; what went wrong only where there is nothing else to say."""
    return f"{row.error.code}: {row.error.message}" if row.error and not row.text else row.text


def _cell(row: Row, name: str) -> object:
    if name == "wer":
        return None if row.wer is None else f"{row.wer * 100:.1f}"
    return getattr(row, name)


class SpeechFolder:
    """Where synthesised speech is written: ``<file stem>.<language>.wav``, never over a file that was read."""

    def __init__(self, folder: Path, inputs: list[Path]) -> None:
        self.folder = folder
        self._used_paths = {path.resolve() for path in inputs}

    def check(self) -> None:
        """Make the folder and see that files can be made in it. Raises INVALID_CONFIGURATION."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise self._unwritable(self.folder, error) from error

    def row(self, file: Path, result: "Result") -> Row:
        """The row of a result, whose speech, if it has one, is written; a row keeps its text if that fails."""
        row = Row.of(file, result)
        try:
            row.speech_file = self._write(file, result) if result.speech else ""
        except SchedError as error:
            row.error = RowError.of(error.refusal)
        return row

    def _write(self, file: Path, result: "Result") -> str:
        from ray_sched.client.audio import write_wav

        path = self._free(file, result.pair.partition(":")[2])
        part = path.with_name(f"{path.name}.part")  # a full disk leaves no file that looks whole
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_wav(part, result.speech, result.speech_rate_hz)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise self._unwritable(path, error) from error
        return str(path)

    def _unwritable(self, path: Path, error: OSError) -> SchedError:
        return SchedError(
            Code.INVALID_CONFIGURATION, f"{path} cannot be written ({error.strerror}); choose another --out"
        )

    def _free(self, file: Path, language: str) -> Path:
        path, number = self.folder / f"{file.stem}.{language}.wav", 1
        while path.resolve() in self._used_paths:
            number += 1
            path = self.folder / f"{file.stem}-{number}.{language}.wav"
        self._used_paths.add(path.resolve())
        return path

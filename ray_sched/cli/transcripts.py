"""The transcript of a long recording as ``submit --split`` writes it: a passage at a time, as soon as it is there."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec
from msgspec import Struct

from ray_sched.cli.output import Output
from ray_sched.cli.rows import RowError
from ray_sched.core.errors import Code, SchedError, printable
from ray_sched.core.views.subtitles import VTT_HEAD, clock_time, srt_cue, vtt_cue

if TYPE_CHECKING:
    from ray_sched.client.long import Passage
    from ray_sched.core.messages.recognition import Segment, Word


class Format(StrEnum):
    """Of a transcript; each is the ending of its files, too, but that of text is ``txt``."""

    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    JSONL = "jsonl"


class TimedText(Struct, frozen=True):
    """A sentence or a word of a passage."""

    start_s: float
    """From the beginning of the recording, as all times here."""
    end_s: float
    text: str


class PassageRow(Struct, kw_only=True):
    """One passage, for programs."""

    file: str
    utterance_index: int
    """From 0, in the order of the recording."""
    start_s: float
    end_s: float
    status: str
    text: str
    translation: str
    job_id: str
    node: str
    wait_ms: int
    run_ms: int
    segments: list[TimedText]
    """Sentences with their times, as far as the engine knows them."""
    words: list[TimedText]
    error: RowError | None

    @classmethod
    def of(cls, file: Path, passage: "Passage") -> "PassageRow":
        """The row of a passage."""
        return cls(
            file=str(file),
            utterance_index=passage.position or 0,
            start_s=round(passage.start_s, 3),
            end_s=round(passage.end_s, 3),
            status=passage.status,
            text=passage.text,
            translation=passage.translation,
            job_id=passage.job_id,
            node=passage.node,
            wait_ms=passage.wait_ms,
            run_ms=passage.run_ms,
            segments=_timed(passage.segments, passage.start_s),
            words=_timed(passage.words, passage.start_s),
            error=RowError.of(passage.error) if passage.error else None,
        )

    @property
    def shown(self) -> str:
        """What people read: the translation where there is one."""
        return self.translation or self.text

    @property
    def cues(self) -> list[TimedText]:
        """The same as subtitles: sentence by sentence where their times are known; a translation has none."""
        whole = TimedText(self.start_s, self.end_s, self.shown)
        return [whole] if self.translation or not self.segments else self.segments


def _timed(parts: "tuple[Segment, ...] | tuple[Word, ...]", start_s: float) -> list[TimedText]:
    return [
        TimedText(round(start_s + part.start_ms / 1000, 3), round(start_s + part.end_ms / 1000, 3), part.text)
        for part in parts
    ]


class Transcript:
    """What is written of one recording, in one format. A passage that has no text is in JSON lines only."""

    def __init__(self, form: Format) -> None:
        self.head = VTT_HEAD if form is Format.VTT else ""
        """What stands before the first passage, or alone where there is none."""
        self._form = form
        self._n_cues = 0

    def of(self, row: PassageRow) -> str:
        """What is written of a passage, with its line ends; may be nothing."""
        match self._form:
            case Format.SRT:
                return "".join(self._srt(cue) for cue in row.cues)
            case Format.VTT:
                return "".join(vtt_cue(cue.start_s, cue.end_s, cue.text) for cue in row.cues)
            case Format.JSONL:
                return msgspec.json.encode(row).decode() + "\n"
            case Format.TEXT:
                text = " ".join(row.shown.split())
                return text and f"[{clock_time(row.start_s)} --> {clock_time(row.end_s)}] {text}\n"

    def _srt(self, cue: TimedText) -> str:
        text = srt_cue(self._n_cues + 1, cue.start_s, cue.end_s, cue.text)
        self._n_cues += bool(text)
        return text


class Writer(Protocol):
    """Where the passages of one recording go."""

    def add(self, row: PassageRow) -> None:
        """Write a passage."""
        ...

    def close(self) -> None:
        """Nothing more is written."""
        ...


class Kept:
    """The passages are kept for the value that ``--json`` prints at the end, and may go into a file as well."""

    def __init__(self, rows: list[PassageRow], writer: Writer | None) -> None:
        self._rows = rows
        self._writer = writer

    def add(self, row: PassageRow) -> None:
        """Keep a passage."""
        self._rows.append(row)
        if self._writer:
            self._writer.add(row)

    def close(self) -> None:
        """Nothing more is kept."""
        if self._writer:
            self._writer.close()


class TranscriptFolder:
    """Files of transcripts: ``<stem of the recording>.<ending>``, never over a file that was read."""

    def __init__(self, folder: Path, form: Format, inputs: list[Path]) -> None:
        self._folder = folder
        self._form = form
        self._used_paths = {path.resolve() for path in inputs}

    def open(self, file: Path) -> "TranscriptFile":
        """The file for the transcript of this recording, made anew. Raises INVALID_CONFIGURATION."""
        ending = "txt" if self._form is Format.TEXT else self._form
        path, number = self._folder / f"{file.stem}.{ending}", 1
        while path.resolve() in self._used_paths:
            number += 1
            path = self._folder / f"{file.stem}-{number}.{ending}"
        self._used_paths.add(path.resolve())
        return TranscriptFile(path, Transcript(self._form))


class TranscriptFile:
    """One file. What was given to it is in it, also after Ctrl-C. Raises INVALID_CONFIGURATION if it takes no more."""

    def __init__(self, path: Path, transcript: Transcript) -> None:
        self.path = path
        self._transcript = transcript
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._write(transcript.head)
        except SchedError:
            self.close()
            raise

    def add(self, row: PassageRow) -> None:
        """Write a passage."""
        self._write(self._transcript.of(row))

    def close(self) -> None:
        """Nothing more is written."""
        with suppress(OSError):  # said when it was written
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SchedError:
        return SchedError(
            Code.INVALID_CONFIGURATION, f"{self.path} cannot be written ({error.strerror}); choose another --out"
        )


class TranscriptPage:
    """The transcript of one recording on stdout."""

    def __init__(self, out: Output, form: Format) -> None:
        self._out = out
        self._transcript = Transcript(form)
        self._show(self._transcript.head)

    def add(self, row: PassageRow) -> None:
        """Show a passage."""
        self._show(self._transcript.of(row))

    def close(self) -> None:
        """Nothing more is shown."""

    def _show(self, text: str) -> None:
        if text:
            self._out.show_part(None, printable(text.removesuffix("\n")))


class TranscriptLines:
    """The passages of one recording as JSON lines on stdout, for ``--json --stream``."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def add(self, row: PassageRow) -> None:
        """Print a passage."""
        self._out.show_part(row)

    def close(self) -> None:
        """Nothing more is printed."""

"""``ray-sched audio``: what the scheduler hears in files, without a cluster."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from ray_sched.cli.audio_options import Partial, Raw, audio_options, files_to_read, how_to_read
from ray_sched.cli.call import Call
from ray_sched.cli.exit_codes import exit_status
from ray_sched.cli.output import add_row, table
from ray_sched.cli.rows import RowError
from ray_sched.core.errors import SchedError, printable

if TYPE_CHECKING:
    from ray_sched.audio import AudioReport

_AT_A_TIME = 16


class AudioRow(Struct, frozen=True, kw_only=True):
    """One file and what is heard in it; zeros and None where it is refused."""

    file: str
    container: str = ""
    codec: str = ""
    source_rate_hz: int = 0
    channels: int = 0
    samples: int = 0
    """At 16 kHz."""
    duration_s: float = 0.0
    level_db: float | None = None
    """Root mean square against full scale; None for digital silence."""
    whole: bool = False
    """Whether nothing is known or suspected to be missing."""
    notes: tuple[str, ...] = ()
    """What was repaired, and what is doubtful."""
    error: RowError | None = None

    @classmethod
    def of(cls, file: Path, report: "AudioReport") -> "AudioRow":
        """The row of a file that was decoded."""
        return cls(
            file=str(file),
            container=report.container,
            codec=report.codec,
            source_rate_hz=report.source_rate_hz,
            channels=report.channels,
            samples=report.samples,
            duration_s=round(report.duration_s, 4),
            level_db=report.level_db if math.isfinite(report.level_db) else None,
            whole=report.whole,
            notes=report.notes,
        )


async def audio(
    call: Call,
    files: Annotated[list[Path], typer.Argument(help="Audio files, of any kind; - is stdin.")],
    raw: Raw = "",
    allow_partial: Partial = False,
) -> int:
    """Show what the scheduler hears in files, or why it refuses them, without a cluster.

    Each is decoded to its end, by the same processes and with the same limits as for submit. The exit status is that of
    the first file that is refused.
    """
    files, options = files_to_read(files), audio_options(raw, allow_partial=allow_partial)
    with call.out.progress("decoding", len(files)) as bar:
        rows = []
        async for row in _rows(call, files, options):
            rows.append(row)
            bar.advance(bar.task_ids[0])
            if row.error:
                named = "" if printable(row.file) in row.error.message else f"{row.file}: "
                call.out.note(f"ray-sched: {named}{row.error.message}")
    made = table(*_HEADINGS, right=_NUMBERS)
    for row in rows:
        level = None if row.level_db is None else f"{row.level_db:.1f}"
        numbers = (f"{row.duration_s:.2f}", row.source_rate_hz, row.channels, row.samples, level)
        what = "refused" if row.error else "; ".join(row.notes) or ("whole" if row.whole else "")
        add_row(made, Path(row.file).name, row.container, row.codec, *(() if row.error else numbers), *_gap(row), what)
    call.out.show(rows, made)
    return next((exit_status(row.error.code) for row in rows if row.error), 0)


_NUMBERS = ("audio s", "rate Hz", "channels", "samples", "level dB")
_HEADINGS = ("file", "container", "codec", *_NUMBERS, "heard")


def _gap(row: AudioRow) -> tuple[None, ...]:
    """Dashes instead of the numbers of a file that is refused."""
    return (None,) * len(_NUMBERS) if row.error else ()


async def _rows(call: Call, files: list[Path], options: dict[str, Any]) -> AsyncIterator[AudioRow]:
    """In the order of the files, a few of which are decoded at a time."""
    from ray_sched.audio import Limits
    from ray_sched.client.reader import Reader

    rules = call.settings.client
    reader, how = Reader(Limits(max_duration_s=rules.max_audio_s), rules.read_timeout_ms / 1000), how_to_read(options)

    async def row(file: Path) -> AudioRow:
        try:
            return AudioRow.of(file, await reader.report(file, how))
        except SchedError as error:
            return AudioRow(file=str(file), error=RowError.of(error.refusal))

    try:
        for start in range(0, len(files), _AT_A_TIME):
            for one in await asyncio.gather(*map(row, files[start : start + _AT_A_TIME])):
                yield one
    finally:
        reader.close()

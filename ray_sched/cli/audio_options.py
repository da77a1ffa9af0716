"""What a user says of audio files on the command line: what they are without a header, and that a part is enough."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from ray_sched.client.reader import How

Raw = Annotated[
    str,
    typer.Option(
        metavar="RATE[:ENCODING]",
        help="Files without a header are samples of this rate: s16le (else), mulaw or alaw, such as 8000:mulaw.",
    ),
]
_STDIN = Path("/dev/stdin")


def files_to_read(files: list[Path]) -> list[Path]:
    """The files, with what is piped in for ``-``. Raises BadParameter where nothing is, and for a second ``-``."""
    n_piped = sum(str(file) == "-" for file in files)
    if n_piped > 1:
        raise typer.BadParameter("- is what is piped in, which can be read once; give it once")
    if n_piped and sys.stdin.isatty():
        raise typer.BadParameter("- is audio that is piped in, as in: arecord -f S16_LE -r 16000 -d 5 | ray-sched ...")
    return [_STDIN if str(file) == "-" else file for file in files]


Partial = Annotated[
    bool, typer.Option("--allow-partial", help="Take what is there of a file that is cut off or damaged, and say so.")
]


def audio_options(raw: str, *, allow_partial: bool) -> dict[str, Any]:
    """As options of ``Client.submit``. Raises BadParameter for what is no rate and encoding."""
    from ray_sched.audio.report import Encoding

    rate, _, encoding = raw.partition(":")
    if raw and not (re.fullmatch("[0-9]{1,9}", rate) and (encoding or "s16le") in get_args(Encoding)):
        raise typer.BadParameter(f"--raw {raw!r} is not RATE[:ENCODING], such as 16000 or 8000:mulaw")
    given = {"sample_rate_hz": int(rate), "encoding": encoding or "s16le"} if raw else {}
    return {"allow_partial": allow_partial, **given}


def how_to_read(options: dict[str, Any]) -> "How":
    """The same as the client's reader wants it, out of all options of a submit."""
    from ray_sched.client.sources import how_to_read

    names = ("sample_rate_hz", "encoding", "allow_partial")
    return how_to_read(**({"sample_rate_hz": None} | {name: options[name] for name in names if name in options}))

"""``ray-sched talk``: a recording, or a microphone that is piped in: each utterance in the terminal, when heard."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError

if TYPE_CHECKING:
    from ray_sched.client.long import Passage
    from ray_sched.wire.samples import Samples

_BLOCK_BYTES = 8_000
"""A quarter of a second: what was said is heard so soon after it was."""
_PLAYERS = (
    ("aplay", "-q", "-f", "S16_LE", "-c", "1", "-r", "{rate}"),
    ("pacat", "--format=s16le", "--channels=1", "--rate={rate}"),
    ("ffplay", "-v", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", "{rate}", "-"),
)


async def talk(
    call: Call,
    file: Annotated[
        Path,
        typer.Argument(help="A recording; - is a microphone: arecord -fS16_LE -r16000 -traw | ray-sched talk -"),
    ],
    src: Annotated[str, typer.Option("--from", help="Language that is spoken.")] = "en",
    to: Annotated[str | None, typer.Option("--to", help="Language to translate into, such as es.")] = None,
    speak: Annotated[bool, typer.Option("--speak", help="Play what was said in the target language, too.")] = False,
) -> int:
    """Show what is said while it is spoken, in its order, with times and translations; the same as the page."""
    from ray_sched.cli.language_check import demand, is_covered, not_covered
    from ray_sched.client.voice import check_installed
    from ray_sched.system.api import Client

    check_installed()
    player = _player() if speak else ()
    demanded = demand(src, to, speech=speak)
    source = blocks_of(_piped_in()) if str(file) == "-" else file
    call.out.is_stream, status = True, 0
    async with call.scheduler() as scheduler:
        nodes = await scheduler.nodes()
        if not is_covered(demanded, nodes):
            raise not_covered(demanded, nodes)
        async with Client(call.settings) as client:
            heard = client.transcribe_long(source, src=src, tgt=to, speech=speak)
            async with aclosing(heard) as passages:
                async for passage in passages:
                    _show(call, file, passage)
                    status = status or (SchedError.of(passage.error).exit_status if passage.error else 0)
                    await _play(player, passage)
    return status


def blocks_of(stream: BinaryIO) -> "Iterator[Samples]":
    """Samples of a raw stream of 16 kHz, mono, 16 bit, as they come; half a sample at its end is left out."""
    import numpy as np

    held = b""
    while data := stream.read1(_BLOCK_BYTES) if hasattr(stream, "read1") else stream.read(_BLOCK_BYTES):
        held += data
        n_bytes = len(held) // 2 * 2
        yield np.frombuffer(held[:n_bytes], "<i2").astype(np.int16)
        held = held[n_bytes:]


def _piped_in() -> BinaryIO:
    if sys.stdin.isatty():
        raise typer.BadParameter(
            "- is a microphone that is piped in: arecord -fS16_LE -r16000 -traw | ray-sched talk -"
        )
    return sys.stdin.buffer


def _show(call: Call, file: Path, passage: "Passage") -> None:
    from ray_sched.cli.transcripts import PassageRow
    from ray_sched.core.views.subtitles import clock_time

    said = passage.error.message if passage.error else passage.text or "(nothing was said)"
    lines = [f"{clock_time(passage.start_s)}  {said}"]
    if passage.translation:
        lines.append(f"{'':14}{passage.translation}")
    if call.out.is_terminal and not passage.error:
        lines.append(f"{'':14}waited {passage.wait_ms} ms, worked {passage.run_ms} ms on {passage.node}")
    call.out.show_part(PassageRow.of(file, passage), *lines)


def _player() -> tuple[str, ...]:
    for player in _PLAYERS:
        if shutil.which(player[0]):
            return player
    names = ", ".join(player[0] for player in _PLAYERS)
    raise SchedError(Code.MISSING_PART, f"nothing here plays sound: install one of {names}, or leave --speak out")


async def _play(player: tuple[str, ...], passage: "Passage") -> None:
    """Play its speech to the end; the next passages are worked on meanwhile."""
    if not (player and passage.speech):
        return
    command = [part.format(rate=passage.speech_rate_hz) for part in player]
    options: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": sys.stderr, "stderr": sys.stderr}
    process = await asyncio.create_subprocess_exec(*command, **options)
    try:
        await process.communicate(passage.speech)
    finally:
        if process.returncode is None:
            process.kill()

"""``ray-sched demo``: a private cluster on this machine, real speech, and proof that nothing stays behind."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct, structs
from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.engine_options import Asr, ComputeType, Engine, Mt, Options, Slots, Tts, with_engine
from ray_sched.cli.exit_codes import exit_status
from ray_sched.cli.language_check import demand, is_covered, not_covered
from ray_sched.cli.profile_option import Profile, n_expected, with_profile
from ray_sched.cli.rows import Row, SpeechFolder, rows_page
from ray_sched.core.capability import AUTO, TTS, Demand, broader

if TYPE_CHECKING:
    from ray_sched.settings import Settings
    from ray_sched.system.api import Client
    from ray_sched.system.start import Scheduler

_SESSION = "demo"
_RELEASE_S = 2.0
"""Bytes of the last job may take this long to be gone."""
_LOOK_S = 0.1


class DemoReport(Struct, kw_only=True):
    """What ``demo --json`` prints."""

    utterances: list[Row]
    recogniser: str | None
    """Who has recognised, as the engine says; None if it says nothing."""
    advice: str | None
    """What would recognise better and how to get it, if there is something."""
    wer: float | None
    """Over all files with a known transcript."""
    ledger_bytes: int
    """Audio and speech in the client and on the nodes, after the last result."""
    object_store_bytes: int
    """Used in Ray's object stores after the last result."""
    object_store_objects: int


async def demo(  # noqa: PLR0913, PLR0917  # one parameter per thing a user may say of it
    call: Call,
    audio: Annotated[
        list[Path] | None, typer.Argument(help="Audio files; without any, five recordings that come with the package.")
    ] = None,
    src: Annotated[str, typer.Option("--from", help="Language that is spoken.")] = "en",
    to: Annotated[str | None, typer.Option("--to", help="Language to translate into and to speak, such as es.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the spoken translations.")] = Path("ray-sched-demo"),
    nodes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Nodes to start; else as many as local.nodes.")
    ] = None,
    engine: Engine = None,
    slots: Slots = None,
    asr_model: Asr = "",
    mt_model: Mt = "",
    tts_model: Tts = "",
    compute_type: ComputeType = "",
    option: Options = None,
    profile: Profile = "",
) -> int:
    """Recognise speech on a private cluster on this machine: real Ray, real Redis, nothing left behind.

    With --to es it is translated and spoken, too, where Apertium and eSpeak NG are installed.
    """
    from ray_sched.cli.first_look import first_look
    from ray_sched.data import samples

    call.last_words = "interrupted; nothing is left running"
    demanded = demand(src, to, speech=to is not None)
    files = audio or [sample.path for sample in samples()]
    named = {"asr-model": asr_model, "mt-model": mt_model, "tts-model": tts_model, "compute-type": compute_type}
    settings = with_engine(call.settings, engine, slots, named, option)
    settings = with_profile(settings, profile, (engine, slots, option, *named.values()), is_local=True)
    for error in await first_look(settings, files):
        if error:
            raise error
    speech = SpeechFolder(out, files)
    if to is not None:
        speech.check()
    async with _private_scheduler(call, settings, nodes) as (scheduler, own_settings):
        demanded = await _possible(call, scheduler, demanded)
        report = await _recognise(scheduler, own_settings, files, demanded, _Show(call, speech))
        call.out.show(report, *_page(report))
    return next((exit_status(row.error.code) for row in report.utterances if row.error), 0)


class _Show:
    """Where results go."""

    def __init__(self, call: Call, speech: SpeechFolder) -> None:
        self.out = call.out
        self.speech = speech


@asynccontextmanager
async def _private_scheduler(
    call: Call, settings: "Settings", n_nodes: int | None
) -> "AsyncIterator[tuple[Scheduler, Settings]]":
    """A Ray, a Redis and a scheduler of our own, and a data directory that is removed."""
    from ray_sched.cli.local_nodes import for_one_machine, local_nodes
    from ray_sched.settings import StoreRules
    from ray_sched.system.running import RunOptions, running

    settings = for_one_machine(settings, n_nodes)
    with tempfile.TemporaryDirectory(prefix="ray_sched-demo-") as home:
        settings = settings.model_copy(update={"data_dir": Path(home), "store": StoreRules(), "address": ""})
        async with AsyncExitStack() as stack:
            with call.out.steps():
                options = RunOptions(local_nodes=local_nodes(settings.local), drain_s=0, is_head_a_node=True)
                starting = running(settings, options, call.out.step)
                scheduler = await stack.enter_async_context(starting)
                local, n_nodes = settings.local, n_expected(settings)
                engines = f"engines of profile {local.profile}" if local.profile else f"{local.engine} engine"
                call.out.step(f"waiting for {n_nodes} nodes to load the {engines}")
                await scheduler.wait_for_nodes(n_nodes)
            yield scheduler, settings


async def _possible(call: Call, scheduler: "Scheduler", demanded: Demand) -> Demand:
    """What the nodes can do of what is asked for: speech is left out where nobody speaks. Raises NO_AVAILABLE_NODE."""
    rows = await scheduler.nodes()
    if not is_covered(demanded, rows) and TTS in demanded.services:
        silent = structs.replace(demanded, services=tuple(s for s in demanded.services if s != TTS))
        if is_covered(silent, rows):
            call.out.note(f"no node speaks {demanded.tgt}, so there is text only; on Debian run: apt install espeak-ng")
            return silent
    if not is_covered(demanded, rows):
        raise not_covered(demanded, rows)
    return demanded


async def _recognise(
    scheduler: "Scheduler", settings: "Settings", files: list[Path], demanded: Demand, show: _Show
) -> DemoReport:
    from ray_sched.system.api import Client
    from ray_sched.system.store_stats import object_store_stats

    before = object_store_stats()
    rows: list[Row] = []
    async with Client(settings) as client:
        with show.out.progress("recognising", len(files)) as bar:
            stream = client.map(
                files,
                src=demanded.candidates or demanded.src,
                tgt=demanded.tgt,
                speech=TTS in demanded.services,
                session=_SESSION,
                order="input",
            )
            async with aclosing(stream):
                async for result in stream:
                    file = files[len(rows)]
                    rows.append(show.speech.row(file, result))
                    bar.advance(bar.task_ids[0])
        ledger_bytes, after = await _bytes_left(scheduler, client), object_store_stats()
        for _ in range(round(_RELEASE_S / _LOOK_S)):
            if not ledger_bytes and after.bytes_used <= before.bytes_used:
                break
            await asyncio.sleep(_LOOK_S)
            ledger_bytes, after = await _bytes_left(scheduler, client), object_store_stats()
    recogniser, advice = _recogniser(settings.local.engine, rows)
    return DemoReport(
        utterances=rows,
        recogniser=recogniser,
        advice=advice,
        wer=_word_error_rates(rows, demanded.src),
        ledger_bytes=ledger_bytes,
        object_store_bytes=after.bytes_used,
        object_store_objects=after.n_objects,
    )


async def _bytes_left(scheduler: "Scheduler", client: "Client") -> int:
    """What the client holds and what the nodes hold, by their last heartbeats."""
    return client.ledger.bytes_in() + sum(row.audio_bytes + row.speech_bytes for row in await scheduler.nodes())


def _recogniser(engine: str, rows: list[Row]) -> tuple[str | None, str | None]:
    """Who has recognised, and what would be better."""
    from ray_sched.agent.engines.recognisers import Moonshine, PocketSphinx

    who = ", ".join(sorted({row.model for row in rows if row.model})) or None
    is_old = engine == "speech" and who == PocketSphinx.title
    return who, f"{Moonshine.title} makes fewer errors: {Moonshine.install}" if is_old else None


def _word_error_rates(rows: list[Row], src: str) -> float | None:
    """Fill in each row's rate where the transcript is known; returns the rate over all of them."""
    from ray_sched.data import samples
    from ray_sched.data.word_errors import word_error_rate

    tags = set(broader(src))
    known = {it.path.name: it.transcript for it in samples() if AUTO in tags or it.language in tags}
    pairs = []
    for row in rows:
        transcript = known.get(Path(row.file).name)
        if transcript and not row.error:
            pairs.append((transcript, row.text))
            row.wer = round(word_error_rate(pairs[-1:]), 4)
    return round(word_error_rate(pairs), 4) if pairs else None


def _page(report: DemoReport) -> list[RenderableType]:
    page: list[RenderableType] = rows_page(report.utterances)
    if report.wer is not None:
        page.append(f"word error rate: {report.wer * 100:.1f} %")
    if report.recogniser:
        page.append(f"recognised by {report.recogniser}" + (f"; {report.advice}" if report.advice else ""))
    page.append(f"ledger: {report.ledger_bytes} bytes; Ray's object store: {report.object_store_bytes} bytes")
    return page

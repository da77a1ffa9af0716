"""``ray-sched submit``: files in, texts out."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_sched.cli.audio_options import Partial, Raw, audio_options, files_to_read, how_to_read
from ray_sched.cli.call import Call
from ray_sched.cli.language_check import demand, is_covered, spoken
from ray_sched.cli.named_values import typed_values
from ray_sched.cli.row_writer import RowWriter
from ray_sched.cli.rows import Row, SpeechFolder
from ray_sched.cli.scheduler_watch import while_it_runs
from ray_sched.cli.split import split_files
from ray_sched.cli.transcripts import Format
from ray_sched.client.durations import milliseconds
from ray_sched.core.capability import Demand
from ray_sched.core.errors import Code, Refusal, SchedError

if TYPE_CHECKING:
    from ray_sched.client.results import Result
    from ray_sched.system.api import Client

    Found = Callable[[int, Result], None]

_BULK_WAIT_S = 600.0
_ENDED = (Code.SCHEDULER_NOT_RUNNING, Code.SHUTTING_DOWN)
"""Errors of a job after which no other one need be tried."""


Files = Annotated[list[Path], typer.Argument(help="Audio files: WAV, FLAC, OGG, MP3, M4A, WebM and more; - is stdin.")]
Spoken = Annotated[
    str, typer.Option("--from", help="Language that is spoken, such as en; auto, or en,es: the node finds out.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for speech or transcripts, made if it is missing; else this one.")
]
Cut = Annotated[
    bool, typer.Option("--split", help="Cut long recordings where nobody speaks; print transcripts with times.")
]
Form = Annotated[Format | None, typer.Option("--format", help="Of the transcripts of --split.")]
Stream = Annotated[
    bool, typer.Option("--stream", help="With --json: one JSON line for each file, as soon as it has ended.")
]
Deadline = Annotated[
    float | None, typer.Option("--deadline-s", min=0.001, help="A node must have taken it within this time.")
]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Submitting it again gives the same job; for a single file.")
]
Partials = Annotated[bool, typer.Option("--partials", help="Show what is recognised so far; for a single file.")]
Words = Annotated[bool, typer.Option("--words", help="Each word with its times, which --json prints.")]
Prompt = Annotated[str, typer.Option(help="What was said before, or a text in the style that is wanted.")]
Hotwords = Annotated[list[str] | None, typer.Option(help="A name or word that is likely to be said; may be repeated.")]
Temperature = Annotated[float | None, typer.Option(min=0, max=2, help="Of the model's choice between words.")]
Options = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="What only the nodes' engine knows; may be repeated.")
]


Tenant = Annotated[str, typer.Option(help="Whose job it is: nodes may be some tenant's, and tenants share by rule.")]
NeedsGpu = Annotated[bool, typer.Option("--needs-gpu", help="Only a node with a GPU may have it.")]


async def submit(  # noqa: PLR0913, PLR0917  # one parameter per thing a user may say of a job
    call: Call,
    files: Files,
    src: Spoken,
    to: Annotated[str | None, typer.Option("--to", help="Language to translate into, such as es.")] = None,
    speech: Annotated[bool, typer.Option("--speech", help="Have the text spoken, too, into a WAV file.")] = False,
    session: Annotated[str, typer.Option(help="Results of a session come in its order.")] = "",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher is sooner.")] = 0,
    deadline_s: Deadline = None,
    request_id: RequestId = "",
    partials: Partials = False,
    words: Words = False,
    prompt: Prompt = "",
    hotword: Hotwords = None,
    temperature: Temperature = None,
    option: Options = None,
    raw: Raw = "",
    allow_partial: Partial = False,
    tenant: Tenant = "",
    needs_gpu: NeedsGpu = False,
    split: Cut = False,
    form: Form = None,
    out: Out = None,
    stream: Stream = False,
) -> int:
    """Submit audio files and print what was said, each as soon as it has ended. A bad file does not stop the others.

    With --split hours of speech are cut into utterances, and each has a line of its own, one recording after another.
    The exit status is that of the first file that failed. After Ctrl-C all that had ended is there; with --json the
    other files are, too, and say why they have no result.
    """
    _check_single(len(files), is_for_one=bool(request_id or partials))
    _check_split(split, form, is_of_utterance=bool(speech or session or request_id or partials))
    _check_stream(call, stream)
    milliseconds(deadline_s or 1, "a deadline")
    files = files_to_read(files)
    demanded = demand(src, to, speech=speech, tenant=tenant, needs_gpu=needs_gpu)
    folder = SpeechFolder(out or Path(), files)
    if speech or out is not None:
        folder.check()
    options: dict[str, Any] = {
        "src": spoken(src),
        "tgt": to,
        "speech": speech,
        "session": session,
        "priority": priority,
    }
    options |= {"request_id": request_id, "needs_gpu": needs_gpu, "words": words, "prompt": prompt}
    options |= {"hotwords": hotword or (), "temperature": temperature, "options": typed_values(option)}
    options |= audio_options(raw, allow_partial=allow_partial)
    call.out.is_stream = stream
    call.last_words = "interrupted; the jobs that had not ended were cancelled"
    if split:
        options |= {"deadline_s": deadline_s} if deadline_s is not None else {}
        return await split_files(call, files, demanded, options, form, out)
    return await _submit_files(_Submission(call, demanded, options, deadline_s, partials=partials), files, folder)


async def _submit_files(job: "_Submission", files: list[Path], folder: SpeechFolder) -> int:
    """The exit status is that of the first file that failed."""
    call, demanded, options = job.call, job.demanded, job.options
    rows = RowWriter(call.out, files, demanded.pair, has_translation=demanded.src != demanded.tgt)
    with rows.whatever_happens():
        good = await _readable(call, files, demanded, options, rows)

        def found(position: int, result: "Result") -> None:
            number = good[position]
            rows.add(number, folder.row(files[number], result))

        if good:
            client_id = _client_id(call.settings.data_dir, options["request_id"])
            await job.run([files[number] for number in good], client_id, found, rows)
    return rows.end(job.ended_by)


def _check_single(n_files: int, *, is_for_one: bool) -> None:
    if n_files > 1 and is_for_one:
        raise typer.BadParameter("--request-id and --partials are for a single file")


def _check_stream(call: Call, stream: bool) -> None:
    if stream and not call.out.is_json:
        raise typer.BadParameter("--stream is for --json; without it each file is printed as soon as it has ended")


def _check_split(split: bool, form: Format | None, *, is_of_utterance: bool) -> None:
    if form and not split:
        raise typer.BadParameter("--format is for --split")
    if split and is_of_utterance:
        raise typer.BadParameter("--speech, --session, --request-id and --partials are not for --split")


async def _readable(
    call: Call, files: list[Path], demanded: Demand, options: dict[str, Any], rows: RowWriter
) -> list[int]:
    """Numbers of the files that can be read, as far as their beginnings tell; the others have their rows at once."""
    from ray_sched.cli.first_look import first_look

    good = []
    for number, error in enumerate(await first_look(call.settings, files, how_to_read(options))):
        if error:
            rows.add(number, Row.refused(files[number], demanded.pair, error))
        else:
            good.append(number)
    return good


class _Submission:
    """Files on their way to the scheduler and their results on the way back."""

    def __init__(
        self, call: Call, demanded: Demand, options: dict[str, Any], deadline_s: float | None, *, partials: bool
    ) -> None:
        self.call = call
        self.demanded = demanded
        self.options = options
        self._deadline_s = deadline_s
        self._has_partials = partials
        self.ended_by: Refusal | None = None
        """Why the files after the last one that was submitted have no result."""

    async def run(self, files: list[Path], client_id: str | None, found: "Found", rows: RowWriter) -> None:
        """``found`` is called with the number of each file and its result, as they come."""
        from ray_sched.system.api import Client

        settings = self.call.settings
        async with self.call.scheduler() as scheduler:
            is_hopeless = not is_covered(self.demanded, await scheduler.nodes())
            async with Client(settings, client_id=client_id, tenant=self.demanded.tenant) as client:
                single = len(files) == 1
                work = self._one(client, files[0], found) if single else self._many(client, files, found, is_hopeless)
                with rows.whatever_happens():  # before the goodbyes, which may take long where nobody is
                    await while_it_runs(scheduler, settings.client.retry_for_ms / 1000, work)

    async def _one(self, client: "Client", file: Path, found: "Found") -> None:
        handle = client.submit(file, deadline_s=self._deadline_s, partials=self._has_partials, **self.options)
        with self.call.out.steps():
            if self.call.out.is_terminal:
                self.call.out.step("waiting for the result")
            async for text in handle.partials():
                self.call.out.step(f"... {text}")
            result = await handle.result()
        found(0, result)

    async def _many(self, client: "Client", files: list[Path], found: "Found", is_hopeless: bool) -> None:
        """A window of files at a time. What no node can do now may wait for one only as long as a single job may."""
        retry_for_s = self.call.settings.dispatch.pending_timeout_ms / 1000 if is_hopeless else _BULK_WAIT_S
        options = self.options | {"deadline_s": self._deadline_s or retry_for_s}
        with self.call.out.progress("submitting", len(files)) as bar:
            async with aclosing(client.map(self._while_it_runs(files), **options)) as stream:
                async for result in stream:
                    if result.error and result.error.code in _ENDED:
                        self.ended_by = result.error
                    found(result.position or 0, result)
                    bar.advance(bar.task_ids[0])

    def _while_it_runs(self, files: list[Path]) -> Iterator[Path]:
        """The files, as long as there is a scheduler for them."""
        for file in files:
            if self.ended_by:
                return
            yield file


def _client_id(data_dir: Path, request_id: str) -> str | None:
    """The same for the same user and request id, and a secret, as client ids are. None: a new one."""
    if not request_id:
        return None
    path = data_dir / "client-secret"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        except FileExistsError:
            pass
        secret = path.read_bytes()
    except OSError as error:
        raise SchedError(
            Code.INVALID_CONFIGURATION, f"{path} cannot be used ({error.strerror}); choose another --data-dir"
        ) from error
    return hashlib.sha256(secret + request_id.encode()).hexdigest()

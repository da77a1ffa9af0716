"""``ray-sched submit``: files in, texts out."""

import hashlib
import os
import secrets
from collections import defaultdict, deque
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_sched.cli.call import Call
from ray_sched.cli.exit_codes import exit_status
from ray_sched.cli.language_check import demand, is_covered
from ray_sched.cli.rows import Row, SpeechFolder, rows_page
from ray_sched.client.durations import milliseconds
from ray_sched.core.capability import Demand
from ray_sched.core.errors import Code, SchedError

if TYPE_CHECKING:
    from ray_sched.client.results import Result
    from ray_sched.system.api import Client

_BULK_WAIT_S = 600.0
_NAME_LENGTH = 256


async def submit(  # noqa: PLR0913, PLR0917  # one parameter per thing a user may say of a job
    call: Call,
    files: Annotated[list[Path], typer.Argument(help="Audio files: WAV, FLAC, OGG, MP3 or AIFF.")],
    src: Annotated[str, typer.Option("--from", help="Language that is spoken, such as en.")],
    to: Annotated[str | None, typer.Option("--to", help="Language to translate into, such as es.")] = None,
    speech: Annotated[bool, typer.Option("--speech", help="Have the text spoken, too, into a WAV file.")] = False,
    session: Annotated[str, typer.Option(help="Results of a session come in its order.")] = "",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher is sooner.")] = 0,
    deadline_s: Annotated[
        float | None, typer.Option("--deadline-s", min=0.001, help="A node must have taken it within this time.")
    ] = None,
    request_id: Annotated[
        str, typer.Option("--request-id", help="Submitting it again gives the same job; for a single file.")
    ] = "",
    partials: Annotated[
        bool, typer.Option("--partials", help="Show what is recognised so far; for a single file.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for speech files.")] = Path(),
) -> int:
    """Submit audio files and print what was said. One bad file does not stop the others.

    The exit status is that of the first file that failed.
    """
    if len(files) > 1 and (request_id or partials):
        raise typer.BadParameter("--request-id and --partials are for a single file")
    if deadline_s is not None:
        milliseconds(deadline_s, "a deadline")
    demanded = demand(src, to, speech=speech)
    rows = _unreadable(call, files, demanded)
    good = [file for file, row in zip(files, rows, strict=True) if row is None]
    results: dict[str, deque[Result]] = defaultdict(deque)
    if good:
        options = {"src": src, "tgt": to, "speech": speech, "session": session, "priority": priority}
        if request_id:
            options["request_id"] = request_id
        call.last_words = "interrupted; the jobs that had not ended were cancelled"
        job = _Submission(call, demanded, options, deadline_s, partials=partials)
        for result in await job.run(good, _client_id(call.settings.data_dir, request_id)):
            results[result.name].append(result)
    folder = SpeechFolder(out, files)
    done = [row or _row(file, results[_name(file)].popleft(), folder) for file, row in zip(files, rows, strict=True)]
    for row in done:
        if row.error:
            name = f"{Path(row.file).name}: "
            call.out.note(f"ray-sched: {'' if row.file in row.error.message else name}{row.error.message}")
    call.out.show(done, *rows_page(done))
    return next((exit_status(row.error.code) for row in done if row.error), 0)


class _Submission:
    """Files on their way to the scheduler and their results on the way back."""

    def __init__(
        self, call: Call, demanded: Demand, options: dict[str, Any], deadline_s: float | None, *, partials: bool
    ) -> None:
        self._call = call
        self._demanded = demanded
        self._options = options
        self._deadline_s = deadline_s
        self._has_partials = partials

    async def run(self, files: list[Path], client_id: str | None) -> "list[Result]":
        """Every result, as they came."""
        from ray_sched.system.api import Client

        async with self._call.scheduler() as scheduler:
            is_hopeless = not is_covered(self._demanded, await scheduler.nodes())
            async with Client(self._call.settings, client_id=client_id) as client:
                if len(files) == 1:
                    return [await self._one(client, files[0])]
                return await self._many(client, files, is_hopeless=is_hopeless)

    async def _one(self, client: "Client", file: Path) -> "Result":
        handle = client.submit(file, deadline_s=self._deadline_s, partials=self._has_partials, **self._options)
        with self._call.out.steps():
            if self._call.out.is_terminal:
                self._call.out.step("waiting for the result")
            async for text in handle.partials():
                self._call.out.step(f"... {text}")
            return await handle.result()

    async def _many(self, client: "Client", files: list[Path], *, is_hopeless: bool) -> "list[Result]":
        """A window of files at a time. What no node can do now may wait for one only as long as a single job may."""
        retry_for_s = self._call.settings.dispatch.pending_timeout_ms / 1000 if is_hopeless else _BULK_WAIT_S
        options = self._options | {"deadline_s": self._deadline_s or retry_for_s}
        results: list[Result] = []
        with self._call.out.progress("submitting", len(files)) as bar:
            async with aclosing(client.map(files, **options)) as stream:
                async for result in stream:
                    results.append(result)
                    bar.advance(bar.task_ids[0])
        return results


def _unreadable(call: Call, files: list[Path], demanded: Demand) -> list[Row | None]:
    """A row for each file that cannot be read, None for the others."""
    from ray_sched.client.audio import describe

    longest_s = call.settings.client.max_audio_s
    rows: list[Row | None] = []
    for file in files:
        try:
            describe(file, max_duration_s=longest_s)
        except SchedError as error:
            rows.append(Row.refused(file, demanded.pair, error))
        else:
            rows.append(None)
    return rows


def _row(file: Path, result: "Result", folder: SpeechFolder) -> Row:
    row = Row.of(file, result)
    row.speech_file = folder.write(file, result)
    return row


def _name(file: Path) -> str:
    """What the client calls a job with this file."""
    return str(file)[-_NAME_LENGTH:]


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

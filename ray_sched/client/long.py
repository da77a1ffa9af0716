"""Long recordings: cut where nobody speaks, sent as one session, and given back in order with their places.

An utterance is read when there is room for it in the window, so that memory holds what is in flight, however many
hours there are.
"""

import logging
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from msgspec import structs

from ray_sched.client.job_spec import name_of
from ray_sched.client.recordings import HowToHear, Recording, RecordingSource
from ray_sched.client.results import Result
from ray_sched.client.streams import windowed
from ray_sched.client.threads import Threads
from ray_sched.client.utterances import Utterance


class Passage(Result, frozen=True, kw_only=True):
    """The result of one utterance of a recording, and where in it that was.

    What is to be said of the audio is known at the end of a file only: it is in the passages that come after that.
    """

    start_s: float
    """Seconds from the beginning of the recording."""
    end_s: float


log = logging.getLogger(__name__)

Run = Callable[..., Awaitable[Result]]
"""Submits one utterance, given its number, its samples and options as keywords. Gives its result, failed ones too."""

_WAIT_S = 600.0


async def transcribe(
    run: Run, source: RecordingSource, window: Callable[[], int], options: dict[str, Any]
) -> AsyncGenerator[Passage, None]:
    """The passages of a recording in order. ``options``: of the jobs, and those of HowToHear.

    A ``request_id`` names the recording: each of its jobs has its own, and all of them are a session of that name.
    Raises what kept the recording from being read to its end, after the passages before that.
    """
    hearing = {name: options.pop(name) for name in HowToHear.__struct_fields__ if name in options}
    options = {"deadline_s": _WAIT_S, "name": _name_of(source)} | options
    request_id = options.pop("request_id", "")
    options["session"] = options.get("session") or request_id or secrets.token_hex(8)
    how = HowToHear(**hearing)
    recording = Recording(source, how)
    threads = Threads("ray-sched-recording", 1)

    async def utterances() -> AsyncIterator[Utterance]:
        while not recording.has_ended:
            for utterance in await threads.run(recording.step):
                yield utterance

    async def passage(utterance: Utterance) -> Passage:
        number = utterance.number
        named = {"request_id": f"{request_id}/{number}"} if request_id else {}
        result = await run(number, utterance.samples, utterance_index=number, copy=False, **named, **options)
        made = Passage(**structs.asdict(result), start_s=utterance.start_s, end_s=utterance.end_s)
        report = recording.report
        return structs.replace(made, audio_is_whole=report.whole, audio_notes=report.notes) if report else made

    try:
        async with aclosing(windowed(utterances(), passage, window, "input")) as passages:
            async for one in passages:
                yield one
    finally:
        threads.submit(recording.close)
    if recording.failure:
        raise recording.failure
    if recording.report:
        for note in recording.report.notes:
            log.warning("%s: %s", options["name"] or "the recording", note)
        if how.on_report:
            how.on_report(recording.report)


def _name_of(source: RecordingSource) -> str:
    return name_of(source) if isinstance(source, str | os.PathLike) else ""

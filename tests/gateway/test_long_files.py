"""Files that are longer than an utterance: cut where nobody speaks, and told as one with right times."""

from typing import Any

import numpy as np
import openai
import pytest

from tests.gateway.conftest import OpenDoor
from tests.support.in_process import InProcess
from tests.support.recordings import RATE, joined, shipped, uploaded


def a_lecture() -> tuple[str, bytes]:
    """The shipped recordings, each with a second of silence behind it: half a minute."""
    return uploaded(joined(1.0), "lecture.wav")


async def test_a_long_file_is_cut_and_told_as_one_with_right_times(open_door: OpenDoor) -> None:
    begins_s = np.cumsum([0, *(len(audio) / RATE + 1 for audio in shipped())])
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system, split_s=5) as door, door.client() as client:

            async def transcribed(**options: Any) -> Any:
                create = client.audio.transcriptions.create
                return await create(
                    file=a_lecture(), model="whisper-1", extra_headers={"Idempotency-Key": "lecture"}, **options
                )

            verbose = await transcribed(response_format="verbose_json", timestamp_granularities=["segment"])
            assert len(system.brain.jobs) == 5
            assert [segment.text for segment in verbose.segments] == verbose.text.replace(" echo", "|echo").split("|")
            for segment, begin_s, end_s in zip(verbose.segments, begins_s[:-1], begins_s[1:], strict=True):
                assert begin_s - 0.2 <= segment.start < segment.end <= end_s - 0.5
            assert verbose.duration == pytest.approx(begins_s[-1], abs=0.001)

            assert (await transcribed(response_format="srt")).count("-->") == 5
            events = [event async for event in await transcribed(stream=True)]
            assert "".join(event.delta for event in events[:-1]) == events[-1].text == verbose.text
            assert len(system.brain.jobs) == 5, "the same Idempotency-Key is the same jobs"


async def test_a_long_file_of_which_a_part_fails_fails(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        failing: Any = {"failure-percent": "100"}
        await system.add_node("a", **failing)
        async with open_door(system, split_s=5) as door, door.client() as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.audio.transcriptions.create(file=a_lecture(), model="whisper-1")
        assert caught.value.code == "engine_failed"
        assert caught.value.response.headers["x-should-retry"] == "false"

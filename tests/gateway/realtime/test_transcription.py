"""A transcription session over a real WebSocket, before the scheduler's own shells and the echo engine."""

import base64
from typing import Any

import pytest

from tests.gateway.conftest import OpenDoor
from tests.gateway.realtime.talking import PUSHED, pcm, quiet, talking
from tests.support.in_process import InProcess
from tests.support.recordings import joined, shipped


async def test_openai_s_own_client_is_told_what_was_said_in_what_it_has_committed(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        wanted = {"intent": "transcription"}
        async with (
            open_door(system) as door,
            door.client() as client,
            client.realtime.connect(extra_query=wanted) as connection,
        ):
            created = await connection.recv()
            assert created.type == "session.created"
            await connection.session.update(
                session={"type": "transcription", "audio": {"input": {"turn_detection": None}}}
            )
            for n_samples in (24_000, 48_000):
                audio = base64.b64encode(bytes(2 * n_samples)).decode()
                await connection.input_audio_buffer.append(audio=audio)
                await connection.input_audio_buffer.commit()
            events = []
            async for event in connection:
                events.append(event)
                if sum(one.type.endswith("completed") for one in events) == 2:
                    break
    done = [one for one in events if one.type == "conversation.item.input_audio_transcription.completed"]
    committed = [one for one in events if one.type == "input_audio_buffer.committed"]
    assert [one.transcript for one in done] == ["echo of 16000 samples", "echo of 32000 samples"]
    assert [one.item_id for one in done] == [one.item_id for one in committed]
    assert [one.previous_item_id for one in committed] == [None, committed[0].item_id]
    assert [getattr(one.usage, "seconds", None) for one in done] == [1.0, 2.0]


async def test_speech_is_found_told_and_answered_utterance_by_utterance(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, talking(door.url) as talker:
            await talker.say(quiet(0.5) + pcm(joined(pause_s=1.0)))
            await talker.until(".completed", n=5)
    starts = [one["audio_start_ms"] for one in talker.all("speech_started")]
    stops = [one["audio_end_ms"] for one in talker.all("speech_stopped")]
    items = [one["item_id"] for one in talker.all("speech_started")]
    assert [one["item_id"] for one in talker.all(".completed")] == items
    assert [one["item_id"] for one in talker.all(".committed")] == items
    assert [one["previous_item_id"] for one in talker.all(".committed")] == [None, *items[:-1]]
    at_ms = 500.0
    for audio, start, stop in zip(shipped(), starts, stops, strict=True):
        end_ms = at_ms + len(audio) / 16
        assert at_ms - 300 <= start < at_ms + 500
        assert end_ms - 1_000 < stop <= end_ms + 700
        at_ms = end_ms + 1_000


async def test_an_update_changes_what_it_names_and_nothing_else(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, talking(door.url) as talker:
        before = (await talker.until("session.created"))["session"]
        assert before["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
        one = await talker.update({"audio": {"input": {"turn_detection": {"silence_duration_ms": 350}}}, "more": 1})
        assert one["audio"]["input"]["turn_detection"] == {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 350,
            "idle_timeout_ms": None,
        }
        two = await talker.update({"audio": {"input": {"transcription": {"language": "en"}}}})
        assert two["audio"]["input"]["turn_detection"] == one["audio"]["input"]["turn_detection"]
        assert two["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "en"}
        three = await talker.update({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
        assert three["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "auto"}
        four = await talker.update(PUSHED)
        assert four["audio"]["input"]["turn_detection"] is None
        assert await talker.update({}) == four
        five = await talker.update({"audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": {}}}})
        assert five["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert five["audio"]["input"]["turn_detection"]["type"] == "server_vad"


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {"input": {"turn_detection": {"threshold": 2}}}}, "session.audio.input.turn_detection.threshold"),
        ({"audio": {"input": {"turn_detection": {"type": "psychic"}}}}, "session.audio.input.turn_detection.type"),
        ({"audio": {"input": {"format": {"rate": 8_000}}}}, "session.audio.input.format.rate"),
        ({"audio": {"input": {"transcription": {"model": "whisper-9"}}}}, "session.audio.input.transcription.model"),
        ({"audio": []}, "session.audio"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_and_changes_nothing(
    open_door: OpenDoor, session: dict[str, object], param: str
) -> None:
    async with InProcess() as system, open_door(system) as door, talking(door.url) as talker:
        before = (await talker.until("session.created"))["session"]
        await talker.send("session.update", session=session, event_id="mine")
        error = (await talker.until("error"))["error"]
        assert (error["type"], error["param"], error["event_id"]) == ("invalid_request_error", param, "mine")
        assert await talker.update({}) == before


async def test_what_is_no_message_is_told_so_and_what_is_unknown_is_passed_over(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, talking(door.url) as talker:
            for wrong in ("", "[]", "{", '{"type": 5}', '{"no": "type"}', "[" * 100_000):
                await talker.socket.send(wrong)
                await talker.until("error")
            await talker.socket.send(b"\x00\x01")
            await talker.until("error")
            await talker.send("input_audio_buffer.append", audio="no base64!")
            assert (await talker.until("error"))["error"]["param"] == "audio"
            await talker.send("response.create", response={"anything": []})
            await talker.update(PUSHED)
            await talker.commit()
            await talker.say(quiet(1))
            await talker.commit()
            assert (await talker.until(".completed"))["transcript"] == "echo of 16000 samples"
    assert len(talker.all("error")) == 8
    assert len(talker.all(".committed")) == 1, "an empty buffer makes no item"


@pytest.mark.parametrize(
    ("form", "n_bytes"),
    [({"type": "audio/pcm", "rate": 16_000}, 32_000), ({"type": "audio/pcmu"}, 8_000), ({"type": "audio/pcma"}, 8_000)],
    ids=["pcm 16 kHz", "mu-law", "A-law"],
)
async def test_audio_of_every_format_is_a_second_long(
    open_door: OpenDoor, form: dict[str, object], n_bytes: int
) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, talking(door.url) as talker:
            await talker.update({"audio": {"input": {"format": form, "turn_detection": None}}})
            await talker.say(bytes(n_bytes), chunk_bytes=333)
            await talker.commit()
            assert (await talker.until(".completed"))["transcript"] == "echo of 16000 samples"


async def test_a_cleared_buffer_is_in_no_item(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, talking(door.url) as talker:
            await talker.update(PUSHED)
            await talker.say(quiet(3))
            await talker.send("input_audio_buffer.clear")
            await talker.until(".cleared")
            await talker.say(quiet(1))
            await talker.commit()
            assert (await talker.until(".completed"))["transcript"] == "echo of 16000 samples"


async def test_a_job_that_fails_is_told_as_failed_and_the_session_goes_on(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        failing: dict[str, Any] = {"failure-percent": "100"}
        await system.add_node("a", **failing)
        async with open_door(system) as door, talking(door.url) as talker:
            await talker.update(PUSHED)
            for _ in range(2):
                await talker.say(quiet(1))
                await talker.commit()
            failed = await talker.until(".failed", n=2)
    assert failed["error"]["code"] == "engine_failed"
    assert failed["error"]["message"]
    assert not talker.all("error")
    assert [one["item_id"] for one in talker.all(".failed")] == [one["item_id"] for one in talker.all(".committed")]


async def test_a_long_utterance_is_recognised_in_pieces_while_it_is_spoken(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system, cut_s=2.0) as door, talking(door.url) as talker:
            await talker.update(PUSHED)
            await talker.say(quiet(5))
            early = await talker.until(".delta")
            assert not talker.all(".committed")
            await talker.commit()
            done = await talker.until(".completed")
        pieces = sorted(job.spec.audio_ms for job in system.brain.jobs.values())
        sessions = {job.spec.session for job in system.brain.jobs.values()}
    assert done["transcript"].startswith(early["delta"])
    assert "".join(one["delta"] for one in talker.all(".delta")) == done["transcript"]
    assert (len(pieces), sum(pieces), len(sessions)) == (3, 5_000, 1)

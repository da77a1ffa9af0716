"""A translation session: what was said, what it means, and how that sounds."""

import base64

from ray_sched.core.capability import Capability
from tests.gateway.conftest import OpenDoor
from tests.gateway.realtime.talking import TRANSLATION, pcm, quiet, talking
from tests.support.in_process import InProcess
from tests.support.recordings import shipped

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("es",))


async def test_openai_s_own_client_has_its_speech_translated_and_spoken(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        async with (
            open_door(system) as door,
            door.client() as client,
            client.realtime.translations.connect(model="gpt-realtime-translate") as connection,
        ):
            assert (await connection.recv()).type == "session.created"
            await connection.session.update(
                session={"audio": {"input": {"transcription": {"model": "whisper-1"}}, "output": {"language": "es"}}}
            )
            audio = quiet(0.5) + pcm(shipped()[0])
            for first in range(0, len(audio), 9_600):
                chunk = base64.b64encode(audio[first : first + 9_600]).decode()
                await connection.session.input_audio_buffer.append(audio=chunk)
            await connection.session.close()
            events = [event async for event in connection]
        (job,) = system.brain.jobs.values()
    assert (job.spec.src, job.spec.tgt) == ("en", "es")
    kinds = [event.type for event in events]
    assert kinds[0] == "session.updated"
    assert kinds[-1] == "session.closed"
    heard = [event.delta for event in events if event.type == "session.input_transcript.delta"]
    assert heard == [f"echo of {round(job.spec.audio_ms * 16)} samples"]
    assert [event.delta for event in events if event.type == "session.output_transcript.delta"] == heard
    spoken = [event for event in events if event.type == "session.output_audio.delta"]
    assert {(event.format, event.sample_rate, event.channels) for event in spoken} == {("pcm16", 24_000, 1)}
    n_samples = sum(len(base64.b64decode(event.delta)) // 2 for event in spoken)
    assert abs(n_samples - job.spec.audio_ms * 24) < 24


async def test_a_session_that_wants_text_only_asks_no_node_to_speak(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=Capability(engine="echo", asr=("en",), mt=("en:es",)))
        async with open_door(system, to_language="es") as door, talking(door.url, TRANSLATION) as talker:
            told = await talker.update({"output_modalities": ["text"]})
            assert told["audio"]["output"] == {"language": "es"}
            for audio in shipped()[:2]:
                await talker.say(quiet(0.5) + pcm(audio) + quiet(0.8))
            await talker.send("session.close")
            assert await talker.until_closed() == 1000
    one, two = (event["delta"] for event in talker.all("output_transcript.delta"))
    assert one.startswith("echo of")
    assert two.startswith(" echo of"), "what is appended brings its own space"
    assert not talker.all("output_audio.delta")
    assert not talker.all("input_transcript.delta")

"""Texts that are spoken: jobs without anything to be heard."""

import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from tests.support.in_process import InProcess

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("en", "es"))


async def test_a_text_is_spoken_and_one_in_another_language_translated_before() -> None:
    async with InProcess() as system, system.client() as client:
        await system.add_node("a", capability=SPEAKING)
        spoken = await client.speak("Hello there.", src="en")
        assert (spoken.text, len(spoken.speech), spoken.speech_rate_hz) == ("Hello there.", 2 * 12_000, 16_000)
        translated = await client.speak("Hello there.", src="en", tgt="es", session="s")
        assert (translated.translation, translated.utterance_index) == ("Hello there.", 0)
        assert not system.brain.speeds.all(), "how long a hundredth of a second took says nothing of a node's speed"


async def test_the_language_of_a_text_has_to_be_known() -> None:
    async with InProcess() as system, system.client() as client:
        with pytest.raises(SchedError) as caught:
            await client.speak("Hello.", src="auto")
        assert caught.value.code is Code.INVALID_LANGUAGE
        with pytest.raises(SchedError, match="the language of a text has to be named"):
            await client.speak("Hello.", src="auto", tgt="es")
        with pytest.raises(SchedError, match="text"):
            client.speak("x" * 8_001, src="en")

"""The voice detectors of a gateway: each session has its own, and a process that dies is replaced."""

import asyncio

import numpy as np

from ray_sched.client.voice import SileroDetector
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.wire.samples import Samples
from tests.support.recordings import joined, silence


async def test_sessions_are_heard_beside_one_another_as_each_is_heard_alone() -> None:
    speech = joined(pause_s=0.5)[: 512 * 400]
    noise = np.concatenate([silence(1), speech])[: 512 * 400]
    expected: list[list[float]] = []
    for audio in (speech, noise):
        detector = SileroDetector()
        expected.append(list(detector.probabilities(audio)))
        detector.close()
    voices = Voices()
    one, other = voices.open(), voices.open()

    async def heard(session: int, audio: Samples) -> list[float]:
        verdicts: list[float] = []
        for first in range(0, len(audio), 512 * 10):
            verdicts += await voices.probabilities(session, audio[first : first + 512 * 10])
        return verdicts

    both = await asyncio.gather(heard(one, speech), heard(other, noise))
    await voices.close()
    assert list(both) == expected


async def test_a_process_that_has_died_is_started_anew_and_nobody_waits_for_ever() -> None:
    voices = Voices()
    session = voices.open()
    assert len(await voices.probabilities(session, silence(0.512))) == 16
    assert voices._process is not None
    voices._process.kill()
    assert len(await voices.probabilities(session, silence(0.512))) == 16
    await voices.close()

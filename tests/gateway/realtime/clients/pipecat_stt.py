"""Pipecat's OpenAI STT as it is by default: its own pipeline says when somebody has stopped, and it commits.

The URL of a gateway and files of 16 kHz samples, an utterance each.
"""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import Frame, InputAudioRawFrame, TranscriptionFrame, VADUserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService

_RATE = 16_000
_CHUNK = 2 * _RATE // 50


class Texts(FrameProcessor):  # type: ignore[misc]  # it may not be installed
    """Keeps the final texts that come by."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: asyncio.Queue[str] = asyncio.Queue()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See Pipecat."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            self.texts.put_nowait(frame.text)
        await self.push_frame(frame, direction)


async def main(url: str, utterances: list[bytes]) -> list[str]:
    """The final texts."""
    service = OpenAIRealtimeSTTService(api_key="none", base_url=f"{url.replace('http', 'ws', 1)}/v1/realtime")
    sink = Texts()
    task = PipelineTask(Pipeline([service, sink]), params=PipelineParams(audio_in_sample_rate=_RATE))
    running = asyncio.ensure_future(PipelineRunner(handle_sigint=False).run(task))
    # people speak later than this; what comes before it has said that it commits by itself is cut by the server
    while not service._session_ready:  # noqa: ASYNC110  # Pipecat has no event for it
        await asyncio.sleep(0.02)
    texts = []
    for audio in utterances:
        for first in range(0, len(audio), _CHUNK):
            chunk = audio[first : first + _CHUNK]
            await task.queue_frame(InputAudioRawFrame(audio=chunk, sample_rate=_RATE, num_channels=1))
        await task.queue_frame(VADUserStoppedSpeakingFrame())
        texts.append(await sink.texts.get())
    await task.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return texts


if __name__ == "__main__":
    heard = asyncio.run(main(sys.argv[1], [Path(name).read_bytes() for name in sys.argv[2:]]))
    print(json.dumps(heard))  # noqa: T201  # that is what it is for

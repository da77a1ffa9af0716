"""LiveKit's OpenAI STT: the URL of a gateway, a file of 16 kHz samples, and how many final texts there will be."""

import asyncio
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import stt
from livekit.agents.utils import http_context
from livekit.plugins import openai

_RATE = 16_000
_CHUNK = 2 * _RATE // 20


async def main(url: str, audio: bytes, n_texts: int) -> list[str]:
    """The final texts."""
    texts: list[str] = []
    async with http_context.open():
        client = openai.STT(base_url=f"{url}/v1", api_key="none", model="gpt-4o-transcribe", use_realtime=True)
        async with client.stream() as stream:
            for first in range(0, len(audio), _CHUNK):
                chunk = audio[first : first + _CHUNK]
                stream.push_frame(rtc.AudioFrame(chunk, _RATE, 1, len(chunk) // 2))
            async for event in stream:
                if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                    texts.append(event.alternatives[0].text)
                if len(texts) == n_texts:
                    break
        await client.aclose()
    return texts


if __name__ == "__main__":
    heard = asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3])))
    print(json.dumps(heard))  # noqa: T201  # that is what it is for

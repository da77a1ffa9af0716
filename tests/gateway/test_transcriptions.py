"""OpenAI's own client, unmodified, against the gateway: transcriptions and translations in every form."""

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.job import JobStatus
from ray_sched.gateway.tenants import token_hash
from tests.gateway.conftest import OpenDoor
from tests.support.in_process import InProcess
from tests.support.recordings import uploaded

TRANSLATING = Capability(engine="echo", asr=("en", "de"), mt=("de:en", "en:es"))


async def test_a_file_is_transcribed_in_every_format(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, door.client() as client:

            async def transcribed(**options: Any) -> Any:
                return await client.audio.transcriptions.create(file=uploaded(), model="whisper-1", **options)

            assert (await transcribed()).text == "echo of 16000 samples"
            assert (await transcribed(response_format="text")).strip() == "echo of 16000 samples"
            assert "00:00:00,000 --> 00:00:01,000\necho of 16000 samples" in await transcribed(response_format="srt")
            assert (await transcribed(response_format="vtt")).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000")
            verbose = await transcribed(response_format="verbose_json", timestamp_granularities=["word", "segment"])
            assert (verbose.duration, verbose.language, verbose.segments[0].end) == (1.0, "en", 1.0)
            assert verbose.words == []


async def test_a_stream_has_deltas_and_one_end(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, door.client() as client:
            stream = await client.audio.transcriptions.create(file=uploaded(), model="gpt-4o-transcribe", stream=True)
            events = [event async for event in stream]
    *deltas, done = events
    assert done.type == "transcript.text.done"
    assert done.text == "echo of 16000 samples"
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's client, of OpenAI's translations
async def test_a_translation_is_to_english_or_to_what_is_said(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=TRANSLATING)
        async with open_door(system) as door, door.client() as client:
            german = await client.audio.translations.create(
                file=uploaded(), model="whisper-1", extra_body={"language": "de"}
            )
            spanish = await client.audio.translations.create(
                file=uploaded(), model="whisper-1", extra_body={"to_language": "es"}
            )
        pairs = [(job.spec.src, job.spec.tgt) for job in system.brain.jobs.values()]
    assert pairs == [("de", "en"), ("en", "es")]
    assert german.text
    assert spanish.text


async def test_what_is_wrong_is_told_as_openai_tells_it(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, door.client(retries=2) as client:
            create = client.audio.transcriptions.create
            with pytest.raises(openai.BadRequestError) as caught:
                await create(file=("a.wav", b"this is a text\n" * 50), model="whisper-1")
            assert caught.value.code == "invalid_audio"
            assert caught.value.request_id
            assert caught.value.request_id.startswith("req_")
            with pytest.raises(openai.NotFoundError, match="there is no model 'whisper-9'") as caught_model:
                await create(file=uploaded(), model="whisper-9")
            assert caught_model.value.param == "model"
            with pytest.raises(openai.BadRequestError, match="response_format is 'xml'; say one of json"):
                await create(file=uploaded(), model="whisper-1", response_format="xml")  # type: ignore[call-overload]  # it is wrong
            with pytest.raises(openai.BadRequestError, match="temperature"):
                await create(file=uploaded(), model="whisper-1", temperature=7)
            with pytest.raises(openai.BadRequestError) as caught_language:
                await create(file=uploaded(), model="whisper-1", language="no language")
            assert caught_language.value.code == "invalid_language"
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("whisper-9")
            assert "whisper-1" in [model.id async for model in client.models.list()]
        assert not system.brain.jobs, "nothing that is wrong was submitted"


async def test_too_much_at_once_or_in_one_body_is_refused(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.5")
        async with open_door(system, max_requests=1, max_upload_mb=1) as door, door.client() as client:
            first = asyncio.ensure_future(client.audio.transcriptions.create(file=uploaded(), model="whisper-1"))
            while not system.brain.jobs:  # noqa: ASYNC110  # the Dispatcher has no event for it
                await asyncio.sleep(0.01)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.audio.transcriptions.create(file=uploaded(), model="whisper-1")
            assert caught.value.response.headers["retry-after-ms"] == "1000"
            assert (await first).text == "echo of 16000 samples"
            with pytest.raises(openai.APIStatusError) as too_large:
                await client.audio.transcriptions.create(file=("a.wav", b"\0" * 1_100_000), model="whisper-1")
            assert too_large.value.status_code == 413


async def test_who_hangs_up_cancels_the_job(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.02")
        async with open_door(system) as door:
            async with httpx2.AsyncClient() as plain:
                posting = asyncio.ensure_future(
                    plain.post(f"{door.url}/v1/audio/transcriptions", files={"file": uploaded()}, timeout=30)
                )
                while not any(job.accepted_at_ms for job in system.brain.jobs.values()):  # noqa: ASYNC110  # as above
                    await asyncio.sleep(0.01)
                posting.cancel()
            (job,) = system.brain.jobs.values()
            async with asyncio.timeout(5):
                while not job.is_terminal:  # noqa: ASYNC110  # the Dispatcher has no event for it
                    await asyncio.sleep(0.01)
            assert job.status is JobStatus.CANCELLED


async def test_the_same_idempotency_key_is_the_same_job(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, door.client() as client:
            for _ in range(2):
                heard = await client.audio.transcriptions.create(
                    file=uploaded(), model="whisper-1", extra_headers={"Idempotency-Key": "k1"}
                )
                assert heard.text == "echo of 16000 samples"
        assert len(system.brain.jobs) == 1


async def test_a_tenant_is_known_by_its_token_and_nobody_else_is_let_in(open_door: OpenDoor) -> None:
    hashes = {"acme": token_hash("secret-a"), "bolt": token_hash("secret-b")}
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system, token_hashes=hashes) as door:
            async with door.client("wrong") as stranger:
                with pytest.raises(openai.AuthenticationError) as caught:
                    await stranger.audio.transcriptions.create(file=uploaded(), model="whisper-1")
            assert caught.value.code == "invalid_api_key"
            for token in ("secret-a", "secret-b"):
                async with door.client(token) as client:
                    await client.audio.transcriptions.create(
                        file=uploaded(), model="whisper-1", extra_headers={"Idempotency-Key": "the same"}
                    )
        assert [job.spec.tenant for job in system.brain.jobs.values()] == ["acme", "bolt"]


async def test_without_tokens_a_page_of_another_site_is_refused(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, httpx2.AsyncClient() as plain:
        assert (await plain.get(f"{door.url}/v1/models")).status_code == 200
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            assert (await plain.get(f"{door.url}/v1/models", headers=headers)).status_code == 403


async def test_it_is_ready_until_it_drains(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, httpx2.AsyncClient() as plain:
        assert (await plain.get(f"{door.url}/healthz")).status_code == 200
        assert (await plain.get(f"{door.url}/readyz")).status_code == 200
        door.gateway.is_draining = True
        assert (await plain.get(f"{door.url}/readyz")).status_code == 503
        assert (await plain.get(f"{door.url}/nowhere")).json()["error"]["code"] == "not_found"

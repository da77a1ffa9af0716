"""The gateway's own API: jobs that are asked for now and looked at later, and sessions in their order."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from ray_sched.core.capability import Capability
from tests.gateway.conftest import Door, OpenDoor
from tests.support.in_process import InProcess
from tests.support.recordings import uploaded

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("en", "es"))


async def post(plain: httpx2.AsyncClient, door: Door, **fields: Any) -> Any:
    answer = await plain.post(f"{door.url}/v1/jobs", files={"file": uploaded()}, data=fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def told(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str, Any]]:
    """Id, kind and value of each event."""
    head: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "data":
            yield head.get("id", ""), head.get("event", ""), json.loads(value)
            head = {}
        elif name:
            head[name] = value


async def test_a_job_is_taken_then_looked_at_until_it_has_ended(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING, speed="4")
        async with open_door(system) as door, httpx2.AsyncClient() as plain:
            job = await post(plain, door, to_language="es", speech="true")
            url = f"{door.url}/v1/jobs/{job['id']}"
            assert (job["object"], job["name"], job["pair"]) == ("job", "a.wav", "en:es")
            assert job["status"] in {"pending", "assigned", "processing"}
            early = (await plain.get(f"{url}/speech")).json()
            assert early["error"]["code"] == "unknown_job"
            ended = (await plain.get(url, params={"wait_s": 10})).json()
            assert (ended["status"], ended["translation"]) == ("completed", "echo of 16000 samples")
            assert ended["speech"] == {"seconds": 1.0, "rate_hz": 16_000, "url": f"/v1/jobs/{job['id']}/speech"}
            spoken = await plain.get(f"{url}/speech")
            assert spoken.headers["content-type"] == "audio/wav"
            assert spoken.content[:4] == b"RIFF"
            explained = (await plain.get(f"{url}/explain")).json()
            assert explained["story"][0][2].startswith("submitted")
            assert explained["job"]["id"] == job["id"]


async def test_a_job_is_cancelled_at_any_gateway_and_told_where_it_was_not_taken_without_its_text(
    open_door: OpenDoor,
) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.5")
        async with open_door(system) as door, open_door(system) as other, httpx2.AsyncClient() as plain:
            job = await post(plain, door)
            there = (await plain.get(f"{other.url}/v1/jobs/{job['id']}")).json()
            assert (there["id"], there["pair"], "text" in there) == (job["id"], "en:en", False)
            assert (await plain.delete(f"{other.url}/v1/jobs/{job['id']}")).status_code == 200
            ended = (await plain.get(f"{door.url}/v1/jobs/{job['id']}", params={"wait_s": 10})).json()
            assert (ended["status"], ended["error"]["code"]) == ("cancelled", "cancelled")
            assert (await plain.delete(f"{door.url}/v1/jobs/{job['id']}")).status_code == 200
            nowhere = await plain.get(f"{door.url}/v1/jobs/no-such-job")
            assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "unknown_job")


async def test_events_of_a_session_come_in_its_order_and_go_on_where_a_reader_was_cut_off(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="20")
        async with open_door(system) as door, httpx2.AsyncClient() as plain:
            url = f"{door.url}/v1/sessions/talk/events"
            for index in (1, 0, 2):
                await post(plain, door, session="talk", utterance_index=index, partials="true")

            async def read(n: int, **headers: str) -> list[tuple[str, str, Any]]:
                async with plain.stream("GET", url, headers=headers) as answer, asyncio.timeout(10):
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    found = []
                    async for event in told(answer.aiter_lines()):
                        found.append(event)
                        if sum(kind == "result" for _, kind, _ in found) == n:
                            return found
                raise AssertionError("the stream ended")

            events = await read(3)
            results = [page["utterance_index"] for _, kind, page in events if kind == "result"]
            assert results == [0, 1, 2]
            assert [number for number, _, _ in events] == [str(n + 1) for n in range(len(events))]
            assert {kind for _, kind, _ in events} == {"partial", "result"}
            second_result = [number for number, kind, _ in events if kind == "result"][1]
            again = await read(1, **{"last-event-id": second_result})
            assert again[-1][2]["utterance_index"] == 2
            assert (await plain.delete(f"{door.url}/v1/sessions/talk")).status_code == 204
            assert (await plain.delete(f"{door.url}/v1/sessions/talk")).status_code == 404


async def test_a_tenant_has_so_many_sessions_and_audio_by_the_minute_and_no_more(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system, max_sessions=1, audio_s_per_minute=1) as door, httpx2.AsyncClient() as plain:
            await post(plain, door, session="one")
            await post(plain, door, session="one")
            answer = await plain.post(f"{door.url}/v1/jobs", files={"file": uploaded()}, data={"session": "one"})
            assert answer.status_code == 429
            assert "1 s of audio came within a minute" in answer.json()["error"]["message"]
            assert int(answer.headers["retry-after-ms"]) >= 1
            assert (await plain.get(f"{door.url}/v1/sessions/two/events")).status_code == 429


async def test_a_wrong_field_is_named(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, httpx2.AsyncClient() as plain:

        async def error(**fields: Any) -> Any:
            answer = await plain.post(f"{door.url}/v1/jobs", files={"file": uploaded()}, data=fields)
            assert answer.status_code == 400
            return answer.json()["error"]

        assert (await error(priority="high"))["param"] == "priority"
        assert (await error(speech="perhaps"))["param"] == "speech"
        assert (await error(utterance_index="3"))["message"] == "an utterance index needs a session"
        waiting = await plain.get(f"{door.url}/v1/jobs/x", params={"wait_s": "long"})
        assert (waiting.status_code, waiting.json()["error"]["param"]) == (400, "wait_s")

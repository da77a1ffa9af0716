"""Who may open a session, how many there may be, and what becomes of one whose connection or gateway ends."""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ray_sched.gateway.realtime import connection
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.gateway.tenants import token_hash
from tests.gateway.conftest import OpenDoor
from tests.gateway.realtime.talking import PUSHED, TRANSCRIPTION, quiet, talking, until
from tests.support.in_process import InProcess


async def refused(url: str, path: str = TRANSCRIPTION, tenant: str = "", **options: object) -> tuple[int, str]:
    """The status and the body with which a WebSocket is refused before it opens."""
    with pytest.raises(InvalidStatus) as caught:
        async with talking(url, path, tenant, **options):
            pass
    return caught.value.response.status_code, caught.value.response.body.decode()


async def test_nobody_without_a_token_gets_a_websocket(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system, token_hashes={"acme": token_hash("right")}) as door:
        assert (await refused(door.url))[0] == 401
        status, body = await refused(door.url, tenant="wrong")
        assert (status, "invalid_api_key" in body) == (401, True)
        async with talking(door.url, tenant="right") as talker:
            await talker.until("session.created")
        browser = ["realtime", "openai-insecure-api-key.right"]
        async with talking(door.url, subprotocols=browser) as talker:
            assert talker.socket.subprotocol == "realtime"
            await talker.until("session.created")


async def test_a_page_of_another_site_gets_no_websocket(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door:
        assert (await refused(door.url, origin="https://evil.example"))[0] == 403


async def test_another_intent_and_an_unknown_model_are_refused_with_what_is_wrong(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door:
        assert (await refused(door.url, "/v1/realtime"))[0] == 400
        status, body = await refused(door.url, f"{TRANSCRIPTION}&model=whisper-9")
        assert (status, "model_not_found" in body) == (404, True)


async def test_where_no_session_more_is_served_that_is_said_before_the_upgrade(open_door: OpenDoor) -> None:
    hashes = {name: token_hash(name) for name in ("acme", "bolt")}
    limits = {"max_sessions": 1, "max_all_sessions": 2, "token_hashes": hashes}
    async with InProcess() as system, open_door(system, **limits) as door:
        async with talking(door.url, tenant="acme"):
            assert (await refused(door.url, tenant="acme"))[0] == 429
            async with talking(door.url, tenant="bolt"):
                assert (await refused(door.url, tenant="bolt"))[0] == 503
        await until(lambda: len(door.gateway.live) == 0)
        async with talking(door.url, tenant="acme") as talker:
            await talker.until("session.created")


async def test_who_comes_back_goes_on_and_hears_once_what_it_missed(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door:
            async with talking(door.url) as talker:
                session = (await talker.update(PUSHED))["id"]
                await talker.say(quiet(1))
                await talker.commit()
                heard = await talker.until(".completed")
                await talker.say(quiet(1))
                await until(lambda: door.gateway.live.room.held_s >= 0.9)
                talker.cut()
            async with talking(door.url, f"{TRANSCRIPTION}&session_id={session}") as back:
                about = (await back.hear())["session"]
                assert (about["resumed"], about["id"], about["input_audio_bytes"]) == (True, session, 96_000)
                await back.commit()
                done = await back.until(".completed")
                assert done["transcript"] == "echo of 16000 samples", "what was said before is part of it"
                assert back.all(".committed")[0]["previous_item_id"] == heard["item_id"]
                back.cut()
            last = back.all(".committed")[0]["event_id"]
            path = f"{TRANSCRIPTION}&session_id={session}&last_event_id={last}"
            async with talking(door.url, path) as again:
                again_done = await again.until(".completed")
            assert again_done == done, "it says what it has heard, and the rest is told again"


async def test_a_session_is_found_by_its_own_tenant_only_and_for_a_while_only(open_door: OpenDoor) -> None:
    hashes = {name: token_hash(name) for name in ("acme", "bolt")}
    async with InProcess() as system, open_door(system, token_hashes=hashes, resume_s=0.3) as door:
        async with talking(door.url, tenant="acme") as talker:
            session = (await talker.until("session.created"))["session"]["id"]
            talker.cut()
        async with talking(door.url, f"{TRANSCRIPTION}&session_id={session}", tenant="bolt") as other:
            assert (await other.until("session.created"))["session"]["id"] != session
        await until(lambda: len(door.gateway.live) == 0)
        async with talking(door.url, f"{TRANSCRIPTION}&session_id={session}", tenant="acme") as late:
            assert (await late.until("session.created"))["session"]["id"] != session


async def test_a_second_connection_takes_the_session_over(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, talking(door.url) as first:
        session = (await first.until("session.created"))["session"]["id"]
        async with talking(door.url, f"{TRANSCRIPTION}&session_id={session}") as second:
            assert (await second.hear())["session"]["resumed"]
            assert await first.until_closed()
            await second.update({})


async def test_a_drain_answers_what_was_said_and_sends_clients_elsewhere(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="4")
        async with open_door(system) as door, talking(door.url) as talker:
            await talker.update(PUSHED)
            await talker.say(quiet(1))
            await talker.commit()
            await talker.until(".committed")
            door.gateway.is_draining = True
            draining = asyncio.ensure_future(door.gateway.live.drain(5))
            assert await talker.until_closed() == 1012
            await draining
            assert [one["transcript"] for one in talker.all(".completed")] == ["echo of 16000 samples"]
            assert (await refused(door.url))[0] == 503


async def test_a_session_that_has_lasted_long_enough_is_sent_elsewhere(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system, session_s=1) as door, talking(door.url) as talker:
        assert await talker.until_closed() == 1012


async def test_where_too_much_audio_is_held_no_more_is_read_until_it_is_recognised(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="20")
        async with open_door(system, session_held_s=10, cut_s=5) as door, talking(door.url) as talker:
            await talker.update(PUSHED)
            most = 0.0

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, door.gateway.live.room.held_s)
                    await asyncio.sleep(0.005)

            watching = asyncio.ensure_future(watch())
            await talker.say(quiet(60), chunk_bytes=24_000)
            await talker.commit()
            done = await talker.until(".completed")
            watching.cancel()
    assert 5 < most <= 11
    assert sum(int(word) for word in done["transcript"].split() if word.isdigit()) == 60 * 16_000


async def test_a_client_that_reads_nothing_is_told_to_come_later(
    open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.5)
    monkeypatch.setattr(connection, "_MAX_UNSENT_BYTES", 100_000)
    async with InProcess() as system, open_door(system) as door:
        async with talking(door.url, max_queue=1) as talker:
            with pytest.raises(ConnectionClosed):  # noqa: PT012  # it is cut off somewhere in it
                for _ in range(20_000):
                    await talker.send("session.update", session={}, more="x" * 4_000)
        await until(lambda: len(door.gateway.live) == 0)


async def test_a_session_that_nobody_can_hear_any_more_is_closed_and_does_not_hang(
    open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError("it does not start")

    monkeypatch.setattr(Voices, "_start", broken)
    async with InProcess() as system, open_door(system) as door, talking(door.url) as talker:
        await talker.say(quiet(1))
        assert await talker.until_closed() == 1013


async def test_who_says_goodbye_is_not_waited_for_and_its_jobs_are_cancelled(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.1")
        async with open_door(system) as door:
            async with talking(door.url) as talker:
                await talker.update(PUSHED)
                await talker.say(quiet(1))
                await talker.commit()
                await until(lambda: any(job.accepted_at_ms for job in system.brain.jobs.values()))
            await until(lambda: len(door.gateway.live) == 0)
            await until(lambda: all(job.is_terminal for job in system.brain.jobs.values()))
            assert door.gateway.live.room.held_s == 0

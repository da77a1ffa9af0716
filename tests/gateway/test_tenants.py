"""No tenant sees another's session, job or text, whatever it asks of whatever route with whatever name."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_sched.core.capability import Capability
from ray_sched.gateway.app import make_app
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.tenants import token_hash
from ray_sched.settings import GatewayRules
from tests.support.in_process import InProcess
from tests.support.recordings import silence, uploaded

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("en", "es"))
HASHES = {"acme": token_hash("secret-a"), "bolt": token_hash("secret-b")}
ACME, BOLT = ({"authorization": f"Bearer secret-{letter}"} for letter in "ab")
URL = "http://gateway"
N_SECRET = 12_345
SECRET = f"echo of {N_SECRET} samples"
"""What acme has said."""


@asynccontextmanager
async def door_with_a_job_of_acme() -> AsyncIterator[tuple[httpx2.AsyncClient, Gateway, str]]:
    """In this event loop, without a socket."""
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        gateway = Gateway(
            lambda tenant: system.client(tenant=tenant), GatewayRules(token_hashes=HASHES), system.dispatcher
        )
        app = make_app(gateway)
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://x") as web,
        ):
            fields = {"session": "private", "to_language": "es", "speech": "true", "partials": "true"}
            file = uploaded(silence(N_SECRET / 16_000))
            made = await web.post(
                "/v1/jobs", files={"file": file}, data=fields, headers=ACME | {"idempotency-key": "k"}
            )
            job_id = made.json()["id"]
            seen = await web.get(f"/v1/jobs/{job_id}", params={"wait_s": 5}, headers=ACME)
            assert seen.json()["text"] == SECRET, "acme itself sees it"
            yield web, gateway, job_id


async def ask(web: httpx2.AsyncClient, method: str, path: str, headers: Any, fields: Any) -> str:
    """All that a client is told: status, head and body."""
    if path.endswith("/events"):  # such an answer has no end, but that of the session
        method, path = "DELETE", path.removesuffix("/events")
    files = {"file": uploaded(silence(0.1))}
    body = {"json": {"input": "Hello."} | fields} if "audio/speech" in path else {"data": fields, "files": files}
    answer = await web.request(method, path, headers=headers, **(body if method == "POST" else {}))
    return f"{answer.status_code} {answer.headers} {answer.text}"


async def test_no_route_tells_a_tenant_of_anothers_job() -> None:
    async with door_with_a_job_of_acme() as (web, _, job_id):
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/explain", f"/v1/jobs/{job_id}/speech"):
            answer = await web.get(path, headers=BOLT)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")
        assert (await web.delete(f"/v1/jobs/{job_id}", headers=BOLT)).status_code == 404
        assert (await web.delete("/v1/sessions/private", headers=BOLT)).status_code == 404
        assert (await web.get(f"/v1/jobs/{job_id}", headers=ACME)).json()["status"] == "completed"


async def test_sessions_and_keys_of_the_same_name_are_two() -> None:
    async with door_with_a_job_of_acme() as (web, gateway, job_id):
        fields = {"session": "private"}
        headers = BOLT | {"idempotency-key": "k"}
        made = await web.post("/v1/jobs", files={"file": uploaded()}, data=fields, headers=headers)
        assert made.status_code == 202
        assert made.json()["id"] != job_id
        assert made.json()["utterance_index"] == 0, "it is the first of its own session"
        visitor = await gateway.tenants.client("bolt")
        log = await gateway.sessions.open("bolt", visitor, "private")
        async for event in log.events(0):
            assert event
            assert event.page["text"] == "echo of 16000 samples"
            break


NAMES = st.sampled_from(["private", "k", "x", "*", "", "..", "acme", "%2e"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_asked_tells_nothing_of_another_tenant(data: st.DataObject) -> None:
    async with door_with_a_job_of_acme() as (web, gateway, job_id):
        paths = make_app(gateway).openapi()["paths"].items()
        routes = [(method.upper(), path) for path, methods in paths for method in methods]
        assert len(routes) >= 14
        for _ in range(8):
            method, path = data.draw(st.sampled_from(routes))
            names = {"job_id": data.draw(st.sampled_from([job_id, f"{job_id[:-1]}*", "x"])), "name": data.draw(NAMES)}
            headers = data.draw(st.sampled_from([BOLT, {}, {"authorization": "Bearer secret-"}]))
            fields = {name: data.draw(NAMES) for name in ("session", "name", "model", "prompt")}
            told = await ask(web, method, path.format(**names), headers | {"idempotency-key": data.draw(NAMES)}, fields)
            assert SECRET not in told
            assert str(N_SECRET) not in told
            assert "500" not in told[:3], told
        seen = await web.get(f"/v1/jobs/{job_id}", headers=ACME)
        assert (seen.json()["status"], json.dumps(seen.json()).count(SECRET)) == ("completed", 2)

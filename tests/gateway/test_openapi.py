"""Whatever the OpenAPI document allows, and much that it does not, is answered without a 500 and as it is declared."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from ray_sched.core.capability import Capability
from ray_sched.gateway.app import make_app
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.serving import listen, serve
from ray_sched.settings import GatewayRules
from tests.support.in_process import InProcess

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("en", "es"))
ENDLESS = "/v1/sessions/{name}/events"
"""Its answer ends with the session, which nobody ends here; ``test_jobs`` reads it."""


@contextmanager
def a_door() -> Iterator[tuple[str, Any]]:
    """A gateway in a thread, and its document: schemathesis asks from this one."""
    begun, loop = threading.Event(), asyncio.new_event_loop()
    until: asyncio.Future[int] = loop.create_future()
    found: dict[str, Any] = {}

    async def run() -> None:
        async with InProcess() as system:
            await system.add_node("a", capability=SPEAKING)
            rules = GatewayRules(split_s=600)
            gateway = Gateway(lambda tenant: system.client(tenant=tenant), rules, system.dispatcher)
            with listen("127.0.0.1:0", has_tokens=False) as listening:
                found["url"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
                found["document"] = make_app(gateway).openapi()
                loop.call_soon(begun.set)
                await serve(gateway, listening, until, 1)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert begun.wait(10)
    try:
        yield found["url"], found["document"]
    finally:
        loop.call_soon_threadsafe(until.set_result, 0)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[str, Any]]:
    with a_door() as opened:
        yield opened


def test_the_document_names_every_route(door: tuple[str, Any]) -> None:
    assert set(door[1]["paths"]) == {
        "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech", "/v1/models", "/v1/models/{name}",
        "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/explain", "/v1/jobs/{job_id}/speech",
        "/v1/sessions/{name}", ENDLESS, "/healthz", "/readyz", "/metrics", "/metrics/scheduler",
    }  # fmt: skip


def test_nothing_that_is_asked_is_answered_with_a_500_or_otherwise_than_declared(door: tuple[str, Any]) -> None:
    url, document = door
    document = {**document, "paths": {path: item for path, item in document["paths"].items() if path != ENDLESS}}
    schema = schemathesis.openapi.from_dict(document)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    n_asked = 0
    for operation in schema.get_all_operations():
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            strategy = operation.ok().as_strategy(generation_mode=mode)  # type: ignore[union-attr]  # it raises itself

            @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(strategy)
            def ask(case: Any) -> None:
                nonlocal n_asked
                n_asked += 1
                case.validate_response(case.call(base_url=url, timeout=20), checks=checks)

            with suppress(Unsatisfiable):  # where there is nothing to say, nothing wrong can be said
                ask()
    assert n_asked > 100

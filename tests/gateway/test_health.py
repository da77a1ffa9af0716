"""What balancers, browsers and Prometheus ask of a gateway."""

import httpx2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from ray_sched.gateway.meters import Meters
from ray_sched.observe.families import FAMILIES
from ray_sched.observe.samples import points
from tests.gateway.conftest import OpenDoor
from tests.support.in_process import InProcess
from tests.support.recordings import uploaded


async def test_what_was_answered_is_counted_by_route_without_names_and_texts(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with open_door(system) as door, httpx2.AsyncClient() as plain:
            heard = await plain.post(
                f"{door.url}/v1/audio/transcriptions", files={"file": uploaded(np.zeros(24_000, np.int16))}
            )
            assert heard.status_code == 200
            assert (await plain.get(f"{door.url}/v1/models/secret-name")).status_code == 404
            assert (await plain.get(f"{door.url}/secret-path")).status_code == 404
            page = (await plain.get(f"{door.url}/metrics")).text
    counted = 'ray_sched_gateway_requests_total{method="POST",route="/v1/audio/transcriptions",status="200"} 1.0'
    assert counted in page
    assert 'route="/v1/models/{name}",status="404"} 1.0' in page
    assert "ray_sched_gateway_audio_seconds_total 1.5" in page
    assert "ray_sched_gateway_held_bytes 0.0" in page
    assert "secret" not in page
    assert "echo" not in page


async def test_a_method_that_is_not_there_is_told_with_those_that_are(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, httpx2.AsyncClient() as plain:
        wrong = await plain.put(f"{door.url}/v1/audio/transcriptions")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


async def test_pages_of_the_origins_in_the_settings_may_ask(open_door: OpenDoor) -> None:
    friend = "https://friend.example"
    async with (
        InProcess() as system,
        open_door(system, origins=(friend,)) as door,
        httpx2.AsyncClient() as plain,
    ):
        asked = {"origin": friend, "access-control-request-method": "POST"}
        allowed = await plain.options(f"{door.url}/v1/models", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == friend
        assert (await plain.get(f"{door.url}/v1/models", headers={"origin": friend})).status_code == 200
        for stranger in ("https://evil.example", "https://[half", "null"):
            assert (await plain.get(f"{door.url}/v1/models", headers={"origin": stranger})).status_code == 403
        assert (await plain.get(f"{door.url}/v1/models", headers={"host": "[half"})).status_code in {400, 403}


def test_what_is_counted_is_the_same_for_whoever_exports_it() -> None:
    meters = Meters()
    meters.answered("POST", "/v1/audio/transcriptions", 200, 0.04)
    meters.answered("POST", "/v1/audio/transcriptions", 200, 3.0)
    meters.audio.inc(2.5)
    on_the_page = {(one.name, tuple(sorted(one.labels.items()))): one.value
                   for metric in text_string_to_metric_families(meters.page().decode()) for one in metric.samples
                   if not one.name.endswith("_created")}  # fmt: skip
    exported = {}
    for sample in meters.samples():
        for point in points(sample):
            labels = tuple(sorted(point.labels.items()))
            exported[FAMILIES[sample.family].exported + point.suffix, _as_the_page_has_it(labels)] = point.value
    assert exported == on_the_page


def _as_the_page_has_it(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The page writes limits of buckets as floats."""
    return tuple((name, str(float(value)) if name == "le" and value != "+Inf" else value) for name, value in labels)

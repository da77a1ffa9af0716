"""The page in a real browser, whose microphone is a file: what was said, in order, with times, in light and dark."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.async_api import Page, async_playwright

from ray_sched.core.capability import Capability
from ray_sched.data import samples
from ray_sched.data.word_errors import word_error_rate
from ray_sched.gateway.tenants import token_hash
from tests.gateway.conftest import OpenDoor
from tests.support.in_process import InProcess
from tests.support.recordings import shipped, silence, uploaded

CHROMIUM = shutil.which("chromium") or ""
ENGLISH = Capability(engine="speech", asr=("en",))
SPOKEN = (1, 4)
"""The two short ones of the shipped recordings."""

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="apt-get install chromium")


@asynccontextmanager
async def browser_page(url: str, microphone: Path, *, scheme: str = "light") -> AsyncIterator[Page]:
    """The page of a gateway on something as small as a phone. What it reports as an error fails the test."""
    options = [
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    ]  # fmt: skip
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        look = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme, "permissions": ["microphone"]}
        page = await (await browser.new_context(**look)).new_page()  # type: ignore[arg-type]  # the names are right
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page
        await browser.close()
    assert errors == []


@needs_chromium
async def test_what_is_said_into_the_microphone_appears_in_order_with_times(
    open_door: OpenDoor, tmp_path: Path
) -> None:
    microphone, recordings = tmp_path / "microphone.wav", shipped()
    parts = [part for n in SPOKEN for part in (silence(1.5), recordings[n])]
    microphone.write_bytes(uploaded(np.concatenate([*parts, silence(2)]))[1])
    said = " ".join(samples()[n].transcript for n in SPOKEN)
    async with InProcess() as system:
        await system.add_node("a", capability=ENGLISH, engine="speech", within_s=60)
        async with open_door(system) as door, browser_page(door.url, microphone, scheme="dark") as page:
            await page.get_by_label("Spoken").fill("en")
            await page.get_by_role("button", name="Start the microphone").press("Enter")
            await page.locator("li.done").nth(1).wait_for(timeout=90_000)
            await page.get_by_role("button", name="Stop the microphone").press("Enter")
            texts = await page.locator("li.done p.text").all_inner_texts()
            times = await page.locator("li.done .when").all_inner_texts()
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            width = await page.evaluate("document.documentElement.scrollWidth")
        jobs = list(system.brain.jobs.values())
    assert [job.utterance_index for job in jobs] == list(range(len(jobs)))
    assert word_error_rate([(said, " ".join(texts))]) <= 0.2
    assert "worked" in times[0]
    assert times == sorted(times), "the earlier is above the later"
    assert background == "rgb(20, 23, 26)", "what is preferred is dark"
    assert width == 390, "nothing reaches beyond a phone's width"


@needs_chromium
async def test_a_file_is_heard_by_whoever_has_a_token_and_its_speech_is_played(
    open_door: OpenDoor, tmp_path: Path
) -> None:
    recording = tmp_path / "two.wav"
    recording.write_bytes(uploaded(np.concatenate([part for n in SPOKEN for part in (shipped()[n], silence(1))]))[1])
    speaking = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("es",))
    async with InProcess() as system:
        await system.add_node("a", capability=speaking)
        hashes = {"acme": token_hash("secret")}
        async with open_door(system, token_hashes=hashes) as door, browser_page(door.url, recording) as page:
            await page.get_by_label("Wanted").fill("es")
            await page.get_by_label("speak it").check()
            await page.get_by_label("Choose a file").set_input_files(recording)
            await page.get_by_label("Token").fill("secret")
            await page.get_by_role("button", name="Use it").click()
            await page.get_by_role("button", name="Play again").first.wait_for(timeout=30_000)
            assert await page.locator("li.done p.translation").first.inner_text()
        assert {job.spec.tenant for job in system.brain.jobs.values()} == {"acme"}


async def test_the_page_is_one_file_that_asks_nothing_of_anybody_else(open_door: OpenDoor) -> None:
    async with InProcess() as system, open_door(system) as door, httpx2.AsyncClient() as plain:
        page = await plain.get(door.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("only over https", ""), "no address of anything elsewhere"

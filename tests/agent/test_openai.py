"""A server of OpenAI's audio API as a node: what it is asked, what it answers, and what its failures mean."""

import email
import email.policy
import io
import json
import math
import threading
import wave
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engines.openai import OpenaiEngine
from ray_sched.agent.engines.openai_http import ServerError
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.recognition import Hints, Option, Segment, Word
from tests.support.engines import MACHINE
from tests.support.in_process import InProcess

DECLARED = Capability(engine="openai", asr=("auto", "en"), mt=("en:es",), tts=("es",))
MODELS = {"asr-model": "whisper-1", "mt-model": "small", "tts-model": "tts-1"}
AUDIO = np.arange(16_000, dtype=np.int16)
TRANSCRIPTION = {
    "task": "transcribe",
    "language": "english",
    "duration": 1.0,
    "text": " Hello there. ",
    "segments": [{"id": 0, "start": 0.0, "end": 0.9, "text": " Hello there.", "avg_logprob": -0.25}, {"start": "x"}],
    "words": [{"word": "Hello", "start": 0.0, "end": "0.4"}, {"word": "there.", "start": 0.5, "end": 0.9}],
}


class Server(ThreadingHTTPServer):
    """Answers as it is told to, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, Any]] = []
        """Path, what was authorised, and the form or the JSON value."""
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        """By path: those that go before the usual one, of which each is given once."""
        self.delay = threading.Event()
        """Set: answer at once."""
        self.delay.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.answers.get(path):
            return self.answers[path].pop(0)
        usual: dict[str, bytes] = {
            "/v1/audio/transcriptions": json.dumps(TRANSCRIPTION).encode(),
            "/v1/chat/completions": json.dumps({"choices": [{"message": {"content": " Hola. "}}]}).encode(),
            "/v1/audio/speech": b"\1\0" * 2_400,
        }
        return 200, usual[path]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        kind = self.headers["Content-Type"]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        value = _form(kind, body) if kind.startswith("multipart/") else json.loads(body)
        self.server.asked.append((self.path, self.headers.get("Authorization", ""), value))
        self.server.delay.wait(10)
        status, reply = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        with suppress(BrokenPipeError):  # who asked may have given up
            self.end_headers()
            self.wfile.write(reply)

    def log_message(self, *what: object) -> None:
        pass


def _form(kind: str, body: bytes) -> dict[str, list[bytes]]:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    fields: dict[str, list[bytes]] = {}
    for part in message.iter_parts():
        name = str(part["Content-Disposition"].params["name"])
        fields.setdefault(name, []).append(bytes(part.get_payload(decode=True)))
    return fields


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.delay.set()
        running.shutdown()
        thread.join()


def engine(url: str, **options: str) -> OpenaiEngine:
    return OpenaiEngine(DECLARED, {"url": url, **MODELS} | {name.replace("_", "-"): it for name, it in options.items()})


def run(made: OpenaiEngine, src: str = "en", **work: Any) -> EngineResult:
    facts: dict[str, Any] = {"job_id": "j", "attempt": 1, "src": src, "tgt": src, "services": ("asr",)} | work
    return made.run(Work(**facts), AUDIO, lambda _: None)


def test_audio_and_hints_are_sent_as_the_api_has_them(server: Server) -> None:
    options: dict[str, Option] = {"vad_filter": True, "model": "x", "a b": 1}
    hints = Hints(words=True, prompt="Hi.", hotwords=("Ray",), temperature=0.5, options=options)
    run(engine(server.url, key="secret"), hints=hints)
    [(path, authorised, form)] = server.asked
    assert (path, authorised) == ("/v1/audio/transcriptions", "Bearer secret")
    file = form.pop("file")
    assert form == {
        "model": [b"whisper-1"],
        "response_format": [b"verbose_json"],
        "timestamp_granularities[]": [b"segment", b"word"],
        "language": [b"en"],
        "prompt": [b"Hi. Ray"],
        "temperature": [b"0.5"],
        "vad_filter": [b"true"],
    }
    with wave.open(io.BytesIO(file[0])) as sent:
        assert (sent.getframerate(), sent.getnchannels(), sent.getsampwidth()) == (16_000, 1, 2)
        assert sent.readframes(16_000) == AUDIO.tobytes()


def test_what_the_server_says_is_understood_as_far_as_it_goes(server: Server) -> None:
    result = run(engine(server.url), "auto")
    assert "language" not in server.asked[0][2]
    found = result.recognition
    assert (result.text, found.language, found.model) == ("Hello there.", "en", "whisper-1")
    assert found.segments == (Segment(0, 900, "Hello there.", math.exp(-0.25)),)
    assert found.words == (Word(0, 400, "Hello"), Word(500, 900, "there."))


@pytest.mark.parametrize("more", [{}, {"language": 7, "segments": 7, "words": [1, {"word": 1}], "x": None}])
def test_a_text_alone_is_enough(server: Server, more: dict[str, Any]) -> None:
    server.answers["/v1/audio/transcriptions"] = [(200, json.dumps({"text": "Hi."} | more).encode())]
    result = run(engine(server.url), "auto")
    assert (result.text, result.recognition.language, result.recognition.segments) == ("Hi.", "", ())


def test_it_translates_from_what_was_found_and_speaks(server: Server) -> None:
    result = run(engine(server.url, voice="nova"), "auto", tgt="es", services=("asr", "mt", "tts"))
    assert (result.translation, len(result.speech), result.speech_rate_hz) == ("Hola.", 4_800, 24_000)
    _, (_, _, chat), (_, _, speech) = server.asked
    assert "from en to es" in chat["messages"][0]["content"]
    assert (chat["model"], chat["messages"][1]["content"]) == ("small", "Hello there.")
    assert speech == {"model": "tts-1", "input": "Hola.", "voice": "nova", "response_format": "pcm"}


def test_nothing_that_was_said_is_neither_translated_nor_spoken(server: Server) -> None:
    server.answers["/v1/audio/transcriptions"] = [(200, b'{"text": " "}')]
    result = run(engine(server.url), tgt="es", services=("asr", "mt", "tts"))
    assert (result.text, result.translation, result.speech) == ("", "", b"")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RefusedError),
        (503, RefusedError),
        (408, RefusedError),
        (401, ModelNotAvailableError),
        (404, ModelNotAvailableError),
        (400, ServerError),
        (500, ServerError),
        (302, ServerError),
    ],
)
def test_what_a_status_means_for_the_job(server: Server, status: int, kind: type[Exception]) -> None:
    server.answers["/v1/audio/transcriptions"] = [(status, b'{"error": {"message": "it is\\nlike this"}}')]
    with pytest.raises(kind, match=f"answered {status}: it is like this"):
        run(engine(server.url))


@pytest.mark.parametrize("reply", [b"", b"<html>", b"[]", b'{"txt": 1}', b'{"text": null}', b"\xff"])
def test_what_is_no_transcription_is_the_server_s_error(server: Server, reply: bytes) -> None:
    server.answers["/v1/audio/transcriptions"] = [(200, reply)]
    with pytest.raises(ServerError):
        run(engine(server.url))


def test_a_server_that_is_away_or_too_slow_is_tried_elsewhere(server: Server) -> None:
    with pytest.raises(ModelNotAvailableError, match="does not answer") as caught:
        run(engine("http://127.0.0.1:1/v1"))
    assert caught.value.service == "asr"
    server.delay.clear()
    with pytest.raises(ModelNotAvailableError, match="does not answer"):
        run(engine(server.url, timeout_s="0.05"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"url": ""}, "it must be one such as http://127.0.0.1:8000/v1"),
        ({"url": "ftp://x"}, "it must be one such as"),
        ({"timeout-s": "soon"}, "must be a number of seconds"),
        ({"key-file": "/no/such/file"}, "cannot be read"),
        (dict.fromkeys(MODELS, ""), "at least one of the options asr-model"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], what: str) -> None:
    with pytest.raises(SchedError, match=what) as caught:
        OpenaiEngine(DECLARED, {"url": "http://localhost/v1", **MODELS} | options)
    assert caught.value.code is Code.INVALID_CONFIGURATION


def test_a_key_may_be_in_a_file_and_services_without_a_model_are_not_offered(server: Server, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden\n")
    made = engine(server.url, key_file=str(tmp_path / "key"), mt_model="", tts_model="")
    run(made)
    assert server.asked[0][1] == "Bearer hidden"
    can = made.capability()
    assert (can.asr, can.mt, can.tts) == (("auto", "en"), (), ())


async def test_a_job_that_one_busy_server_refuses_is_done_by_another(server: Server) -> None:
    server.answers["/v1/audio/transcriptions"] = [(429, b'{"error": {"message": "slow down"}}')]
    english = Capability(engine="openai", asr=("en",))
    async with InProcess() as system:
        for name in ("a", "b"):
            host = EngineHost("openai", english, {"url": server.url, "asr-model": "m"}, 2, MACHINE)
            await system.add_node(name, capability=english, host=host, slots=2)
        async with system.client() as client:
            result = await client.submit(AUDIO, src="en", words=True)
    assert (result.text, result.model, len(result.words)) == ("Hello there.", "m", 2)
    assert [note.why for note in result.attempts if "slow down" in note.why]

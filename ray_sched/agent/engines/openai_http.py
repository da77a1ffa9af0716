"""How the openai engine talks to its server: one connection for each call, and what its status means for the job."""

import io
import json
import secrets
import ssl
import wave
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ray_sched.agent.engine import ModelNotAvailableError, RefusedError
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

MAX_REPLY_BYTES = 256 * 2**20
_MAX_SENTENCE = 300
_BUSY = frozenset({408, 409, 425, 429, 503, 529})
"""It has too much to do or cannot now: another node may, and this one rests for a moment."""
_NOT_HERE = frozenset({401, 403, 404})
"""A key, a model or a path that this server does not know: no job will fare better here for a while."""

ValueT = TypeVar("ValueT")


class ServerError(RuntimeError):
    """The server failed, or refused this very request; the sentence says what it said."""


class Server:
    """An OpenAI-compatible server. Its methods may be called by several threads."""

    def __init__(self, url: str, key: str, timeout_s: float) -> None:
        """``url``: up to and with ``/v1``. Raises SchedError INVALID_CONFIGURATION for what is none."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SchedError(
                Code.INVALID_CONFIGURATION,
                f"option url of the openai engine is {url!r}; it must be one such as http://127.0.0.1:8000/v1",
            )
        self._url = url.rstrip("/")
        self._parts = parts
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s

    def post_form(self, service: str, path: str, fields: Sequence[tuple[str, str]], file: bytes) -> Any:
        """The JSON that answers a form with an audio file."""
        boundary = secrets.token_hex(16)
        begin = f"--{boundary}\r\nContent-Disposition: form-data; "
        head = "".join(f'{begin}name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
        head += f'{begin}name="file"; filename="audio.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        body = b"".join((head.encode(), file, f"\r\n--{boundary}--\r\n".encode()))
        reply = self._post(service, path, body, f"multipart/form-data; boundary={boundary}")
        return self.parsed(reply, lambda value: value)

    def post_json(self, service: str, path: str, body: dict[str, Any]) -> bytes:
        """The bytes that answer a JSON value."""
        return self._post(service, path, json.dumps(body).encode(), "application/json")

    def parsed(self, reply: bytes, take: Callable[[Any], ValueT]) -> ValueT:
        """What ``take`` finds in the JSON of a reply. Raises ServerError for anything else."""
        try:
            return take(json.loads(reply))
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(f"{self._url} answered what is not of OpenAI's API: {reply[:80]!r}") from error

    def _post(self, service: str, path: str, body: bytes, content_type: str) -> bytes:
        connection = self._connection()
        try:
            connection.request("POST", self._path + path, body, self._headers | {"Content-Type": content_type})
            response = connection.getresponse()
            reply = response.read(MAX_REPLY_BYTES + 1)
        except (OSError, HTTPException) as error:  # refused, unknown, cut off, too late
            why = " ".join(str(error).split()) or type(error).__name__
            raise ModelNotAvailableError(service, f"{self._url} does not answer: {why}") from error
        finally:
            connection.close()
        if len(reply) > MAX_REPLY_BYTES:
            raise ServerError(f"{self._url} answered more than {MAX_REPLY_BYTES} bytes")
        self._check(service, response.status, reply)
        return reply

    def _check(self, service: str, status: int, reply: bytes) -> None:
        if status == 200:  # noqa: PLR2004  # what OpenAI's API answers when all is well
            return
        sentence = f"{self._url} answered {status}: {_complaint(reply)}"
        if status in _BUSY:
            raise RefusedError(sentence)
        if status in _NOT_HERE:
            raise ModelNotAvailableError(service, sentence)
        raise ServerError(sentence)

    def _connection(self) -> HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=ssl.create_default_context())


def wav(audio: Samples) -> bytes:
    """The audio as a WAV file, 16 kHz, mono, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(BYTES_PER_SAMPLE)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(audio.astype("<i2").tobytes())
    return file.getvalue()


def _complaint(reply: bytes) -> str:
    """What the server says is wrong, in one line."""
    try:
        said = json.loads(reply)
        text = str(said["error"]["message"] if isinstance(said.get("error"), dict) else said.get("detail", said))
    except (ValueError, LookupError, TypeError, AttributeError):
        text = reply[:_MAX_SENTENCE].decode(errors="replace")
    return " ".join(text.split())[:_MAX_SENTENCE] or "nothing"

"""What an HTTP client is told when something is refused: a status, and a body as OpenAI's clients read it.

Those clients try 408, 409, 429 and 5xx again by themselves, twice, unless ``x-should-retry`` says false; and they wait
as long as ``retry-after-ms`` says.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi.responses import JSONResponse

from ray_sched.core.errors import Code, Refusal


class Status(NamedTuple):
    """How a code is answered."""

    number: int
    kind: str
    """``type`` in the body."""
    may_retry: bool = False
    """Whether the same request may succeed by being repeated."""


_REQUEST = "invalid_request_error"
_SERVER = "server_error"
_AGAIN = Status(503, _SERVER, may_retry=True)

STATUS: dict[Code, Status] = {
    Code.INVALID_MESSAGE: Status(400, _REQUEST),
    Code.INVALID_AUDIO: Status(400, _REQUEST),
    Code.INVALID_LANGUAGE: Status(400, _REQUEST),
    Code.UNAUTHENTICATED: Status(401, "authentication_error"),
    Code.UNKNOWN_JOB: Status(404, _REQUEST),
    Code.DUPLICATE_REQUEST: Status(409, _REQUEST),
    Code.DUPLICATE_INDEX: Status(409, _REQUEST),
    Code.POISON_JOB: Status(422, _REQUEST),
    Code.CANCELLED: Status(409, _REQUEST),
    Code.OVERLOADED: Status(429, "rate_limit_error", may_retry=True),
    Code.ENGINE_FAILED: Status(500, _SERVER),
    Code.ENGINE_CRASHED: Status(500, _SERVER),
    Code.DEADLINE_EXCEEDED: Status(504, _SERVER),
    Code.JOB_TIMEOUT: Status(504, _SERVER),
    Code.NO_AVAILABLE_NODE: _AGAIN,
    Code.MODEL_NOT_AVAILABLE: _AGAIN,
    Code.MISSING_PART: Status(503, _SERVER),
    Code.SCHEDULER_DEPENDENCY_DOWN: _AGAIN,
    Code.SCHEDULER_NOT_RUNNING: _AGAIN,
    Code.SHUTTING_DOWN: _AGAIN,
    Code.NODE_LOST: _AGAIN,
    Code.CLIENT_GONE: _AGAIN,
    Code.CLIENT_REPLACED: _AGAIN,
}
"""Every other code is a 500."""
_OTHER = Status(500, _SERVER)


_AGAIN_NUMBERS = frozenset({408})


class RequestError(Exception):
    """The request itself is refused, before any job is made of it. ``str(error)`` is one sentence."""

    def __init__(self, number: int, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        """``number``: the HTTP status; ``param``: the field that is wrong."""
        super().__init__(message)
        self.number = number
        self.code = code
        self.param = param

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """As it is answered, with more headers."""
        kind = "authentication_error" if self.number == 401 else _REQUEST  # noqa: PLR2004  # unauthorised
        said = {"x-should-retry": "true" if self.number in _AGAIN_NUMBERS else "false", **(headers or {})}
        if self.number == 401:  # noqa: PLR2004  # as above
            said["www-authenticate"] = "Bearer"
        return _answer(self.number, error_body(str(self), kind, self.code, self.param), said)


def refusal_response(refusal: Refusal, number: int = 0) -> JSONResponse:
    """The answer to a request whose job was refused or has failed. ``number``: another status than that of its code."""
    status = STATUS.get(refusal.code, _OTHER)
    headers = {"x-should-retry": "true" if status.may_retry else "false"}
    if refusal.retry_after_ms:
        headers["retry-after-ms"] = str(refusal.retry_after_ms)
        headers["retry-after"] = str(-(-refusal.retry_after_ms // 1000))
    return _answer(number or status.number, refusal_body(refusal), headers)


def refusal_body(refusal: Refusal) -> dict[str, Any]:
    """The same as a value, for a stream that has begun."""
    status = STATUS.get(refusal.code, _OTHER)
    return error_body(refusal.message, status.kind, refusal.code.lower(), None)


def error_body(message: str, kind: str, code: str, param: str | None) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _answer(number: int, body: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(body, status_code=number, headers=headers)

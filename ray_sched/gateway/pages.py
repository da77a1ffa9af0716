"""Jobs as the gateway's own API shows them."""

from typing import Any

import msgspec

from ray_sched.client.results import JobHandle, Missing, Result
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE
from ray_sched.core.views.explanation import Explanation
from ray_sched.core.views.jobs import JobView
from ray_sched.gateway.refusals import refusal_body

_SECRET = frozenset({"speech", "speech_rate_hz", "error", "position", "segments", "words"})
"""Fields of a result that are shown in another form, or not."""


def result_page(result: Result) -> dict[str, Any]:
    """A job that has ended."""
    page = {"id": result.job_id, "object": "job"} | {
        name: value for name, value in _builtins(result).items() if name not in _SECRET and name != "job_id"
    }
    page["segments"] = [_timed(it) for it in result.segments]
    page["words"] = [_timed(it) for it in result.words]
    rate_hz = result.speech_rate_hz
    page["speech"] = None
    if result.speech and rate_hz:
        seconds = len(result.speech) / BYTES_PER_SAMPLE / rate_hz
        page["speech"] = {"seconds": seconds, "rate_hz": rate_hz, "url": f"/v1/jobs/{result.job_id}/speech"}
    page["error"] = refusal_body(result.error)["error"] if result.error else None
    return page


def open_page(handle: JobHandle, status: str) -> dict[str, Any]:
    """A job that has not ended, of a client of this gateway."""
    spec = handle.spec
    return {
        "id": handle.job_id,
        "object": "job",
        "name": spec.name,
        "status": status,
        "pair": f"{spec.src}:{spec.tgt}",
        "session": spec.session,
        "utterance_index": handle.utterance_index,
        "error": None,
    }


def view_page(view: JobView) -> dict[str, Any]:
    """A job that another gateway has taken: where it is, without what was said."""
    page = {"id": view.job_id, "object": "job"} | _builtins(view)
    for name in ("job_id", "tenant"):
        del page[name]
    return page


def explanation_page(explanation: Explanation) -> dict[str, Any]:
    """Why a job is where it is."""
    return _builtins(explanation) | {"object": "job.explanation", "job": view_page(explanation.job)}


def missing_page(missing: Missing) -> dict[str, Any]:
    """A gap in a session."""
    return _builtins(missing)


def _timed(one: Any) -> dict[str, Any]:
    return {"start": one.start_ms / 1000, "end": one.end_ms / 1000, "text": one.text, "confidence": one.confidence}


def _builtins(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain

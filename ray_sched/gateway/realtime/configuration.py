"""How a session is configured: as its client is told, and as the rules of its turns and the options of its jobs."""

import copy
from typing import Any, Literal

from ray_sched.core.turns.rules import TurnRules
from ray_sched.gateway.realtime.audio_in import PCM_RATES_HZ, Format
from ray_sched.gateway.realtime.wishes import SessionWish, TurnWish, WishError, merged
from ray_sched.settings import GatewayRules

Kind = Literal["transcription", "translation"]
_SERVER_VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "server_vad": _SERVER_VAD | {"idle_timeout_ms": None},
    "semantic_vad": {"type": "semantic_vad", "eagerness": "auto"},
}
_SEMANTIC_SILENCE_MS = {"low": 8_000, "medium": 4_000, "auto": 4_000, "high": 2_000}
_SUFFIX_MS = 200
_CUT_SEARCH = 0.3
"""A piece ends within this last part of it, where speech is least probable."""


class Configuration:
    """One session's. ``page`` is what its client is told."""

    def __init__(self, kind: Kind, rules: GatewayRules, session_id: str, model: str, expires_at_s: int) -> None:
        """``model``: of the request's URL, empty if it names none."""
        self.kind = kind
        self._rules = rules
        heard: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": 24_000}, "noise_reduction": None}
        heard["turn_detection"] = dict(_DEFAULTS["server_vad"])
        self.page: dict[str, Any] = {"id": session_id, "type": kind, "expires_at": expires_at_s}
        if kind == "transcription":
            heard["transcription"] = {"model": model or rules.models[0]}
            self.page |= {"object": "realtime.transcription_session", "audio": {"input": heard}, "include": None}
        else:
            heard["transcription"] = None
            self.page |= {
                "model": model or rules.models[0],
                "audio": {"input": heard, "output": {"language": rules.to_language}},
                "output_modalities": ["audio", "text"],
            }

    def update(self, wish: SessionWish) -> None:
        """Merge a wish. Raises WishError, nothing changed, for what cannot be."""
        page = merged(copy.deepcopy(self.page), wish)
        page["audio"].setdefault("output", {})
        if self.kind == "transcription":
            del page["audio"]["output"]
            page.pop("output_modalities", None)
        else:
            page.pop("include", None)
        heard = page["audio"]["input"]
        heard["format"] = self._format(heard["format"])
        heard["turn_detection"] = self._turn_detection(wish, heard["turn_detection"])
        self._check_model(heard["transcription"])
        self.page = page

    @property
    def turn_rules(self) -> TurnRules:
        """How its turns are found."""
        cut_ms = round(self._rules.cut_s * 1000)
        search_ms = round(cut_ms * _CUT_SEARCH)
        found = self._heard["turn_detection"]
        if found is None:
            return TurnRules(is_detected=False, cut_ms=cut_ms, search_ms=search_ms)
        is_semantic = found["type"] == "semantic_vad"
        silence_ms = _SEMANTIC_SILENCE_MS[found["eagerness"]] if is_semantic else found["silence_duration_ms"]
        return TurnRules(
            speech_at=found.get("threshold", _SERVER_VAD["threshold"]),
            prefix_ms=found.get("prefix_padding_ms", _SERVER_VAD["prefix_padding_ms"]),
            silence_ms=silence_ms,
            suffix_ms=min(silence_ms, _SUFFIX_MS),
            idle_timeout_ms=found.get("idle_timeout_ms"),
            cut_ms=cut_ms,
            search_ms=search_ms,
            stall_ms=silence_ms + 1_000,
            is_interruptible=self.kind == "translation" and bool(found.get("interrupt_response")),
        )

    @property
    def format(self) -> Format:
        """How the client's audio is coded."""
        told = self._heard["format"]
        return Format(told["type"], told.get("rate") or Format.rate)

    @property
    def source(self) -> str | list[str]:
        """What is spoken."""
        wish = self._heard["transcription"] or {}
        return wish.get("language") or wish.get("languages") or self._rules.language

    @property
    def target(self) -> str | None:
        """What it is translated to; None: it is not."""
        return self.page["audio"]["output"].get("language") if self.kind == "translation" else None

    @property
    def is_spoken(self) -> bool:
        """Whether the translation is spoken."""
        return self.kind == "translation" and "audio" in self.page["output_modalities"]

    @property
    def shows_source(self) -> bool:
        """Whether a translation's client wants what was spoken, too."""
        return self._heard["transcription"] is not None

    @property
    def prompt(self) -> str:
        """What the recogniser is told to expect."""
        return (self._heard["transcription"] or {}).get("prompt") or ""

    @property
    def hotwords(self) -> list[str]:
        """Words that it is told to expect."""
        return (self._heard["transcription"] or {}).get("keywords") or []

    @property
    def _heard(self) -> dict[str, Any]:
        return self.page["audio"]["input"]  # type: ignore[no-any-return]  # a page is JSON

    def _format(self, told: dict[str, Any]) -> dict[str, Any]:
        if told["type"] != "audio/pcm":
            return {"type": told["type"]}
        rate = told.get("rate") or 24_000
        if rate not in PCM_RATES_HZ:
            raise WishError(
                f"PCM of {rate} Hz is not taken; send 24000 or 16000", param="session.audio.input.format.rate"
            )
        return {"type": "audio/pcm", "rate": rate}

    def _turn_detection(self, wish: SessionWish, told: dict[str, Any] | None) -> dict[str, Any] | None:
        """With the defaults of its kind; what was said of another kind is forgotten."""
        if told is None:
            return None
        kind = told.get("type", "server_vad")
        before = self._heard["turn_detection"]
        known = before if before and before["type"] == kind else _DEFAULTS[kind]
        said = wish.audio.input.turn_detection if wish.audio and wish.audio.input else None
        return merged(known, said) if isinstance(said, TurnWish) else told

    def _check_model(self, told: dict[str, Any] | None) -> None:
        if told is None:
            return
        name = told.setdefault("model", self._rules.models[0])
        if name not in self._rules.models:
            known = ", ".join(self._rules.models)
            raise WishError(
                f"there is no model {name!r}; say one of {known}",
                param="session.audio.input.transcription.model",
                code="model_not_found",
            )

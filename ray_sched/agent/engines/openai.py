"""The openai engine: any server that speaks OpenAI's audio API, such as vLLM, speaches, LocalAI or a cloud, as a node.

Transcriptions recognise, chat completions translate, and speech is spoken. The server says what it has found as far as
it can; what its models are able to do is for the labels to declare, as no server tells.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import replace

from ray_sched.agent.engine import EngineResult, Isolation, ModelNotAvailableError, Work
from ray_sched.agent.engines.openai_http import Server, wav
from ray_sched.agent.engines.openai_replies import recognition_of
from ray_sched.core.capability import ASR, AUTO, MT, TTS, Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.recognition import NOTHING_MORE, Recognition
from ray_sched.wire.samples import Samples

SPEECH_RATE_HZ = 24_000
"""Of the raw samples that these servers speak."""
_FIELD = re.compile(r"[A-Za-z0-9_]+(\[\])?")
_OWN_FIELDS = frozenset({"file", "model", "language", "prompt", "response_format", "temperature", "stream",
                         "timestamp_granularities[]"})  # fmt: skip


class OpenaiEngine:
    """Options, all strings.

    ``url``: up to and with ``/v1``. ``key`` or ``key-file``: shown as a bearer token. ``asr-model``, ``mt-model``,
    ``tts-model``: names of the server's models for transcriptions, chat completions and speech; a service without one
    is not offered. ``voice``: of speech. ``timeout-s``: for each answer, 60 unless said.
    """

    isolation: ClassVar[Isolation] = "thread"  # it waits for the network, and keeps no model

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Check the options; nothing is asked of the server. Raises SchedError INVALID_CONFIGURATION."""
        self._models = {service: options.get(f"{service}-model", "") for service in (ASR, MT, TTS)}
        if not any(self._models.values()):
            raise _invalid("the openai engine needs at least one of the options asr-model, mt-model and tts-model")
        self._declared = declared
        self._voice = options.get("voice", "alloy")
        self._server = Server(options.get("url", ""), _key(options), _seconds(options.get("timeout-s", "60")))

    def capability(self) -> Capability:
        """The declaration, without the services that have no model."""
        declared, models = self._declared, self._models
        return replace(
            declared,
            asr=declared.asr if models[ASR] else (),
            mt=declared.mt if models[MT] else (),
            tts=declared.tts if models[TTS] else (),
        )

    def load(self) -> None:
        """Nothing is loaded: a server that is away now may be there for the first job."""

    def admit(self, work: Work) -> str | None:
        """Take everything the capability covers."""
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Recognise, translate from what was found, speak.

        Raises RefusedError where the server has too much to do, ModelNotAvailableError where it is away, does not know
        the model or the key, and ServerError for what it says is wrong.
        """
        text, recognition = self._recognise(work, audio) if ASR in work.services else (work.hints.text, NOTHING_MORE)
        if work.wants_partials and text:
            emit_partial(text)
        translation = self._translate(text, recognition.language or work.src, work) if MT in work.services else ""
        spoken = translation if MT in work.services else text
        speech = self._speak(spoken) if TTS in work.services and spoken.strip() else b""
        return EngineResult(
            text=text,
            translation=translation,
            speech=speech,
            speech_rate_hz=SPEECH_RATE_HZ if speech else 0,
            recognition=recognition,
        )

    def _recognise(self, work: Work, audio: Samples) -> tuple[str, Recognition]:
        hints = work.hints
        fields = [("model", self._models[ASR]), ("response_format", "verbose_json")]
        fields += [("timestamp_granularities[]", "segment")]
        fields += [("timestamp_granularities[]", "word")] if hints.words else []
        fields += [("language", work.src.partition("-")[0])] if work.src != AUTO else []
        prompt = " ".join(filter(None, [hints.prompt, ", ".join(hints.hotwords)]))
        fields += [("prompt", prompt)] if prompt else []
        fields += [("temperature", str(hints.temperature))] if hints.temperature is not None else []
        for name, value in hints.options.items():
            if _FIELD.fullmatch(name) and name not in _OWN_FIELDS:
                fields.append((name, json.dumps(value) if isinstance(value, bool) else str(value)))
        reply = self._server.post_form(ASR, "/audio/transcriptions", fields, wav(audio))
        return recognition_of(reply, self._models[ASR], is_asked=work.src == AUTO)

    def _translate(self, text: str, found: str, work: Work) -> str:
        if not text.strip() or found == work.tgt:
            return text
        if not self._models[MT]:
            raise ModelNotAvailableError(MT, "no mt model is named for the openai engine on this node")
        wish = f"Translate from {found} to {work.tgt} (BCP 47 tags). Answer with the translation and nothing else."
        messages = [{"role": "system", "content": wish}, {"role": "user", "content": text}]
        body = {"model": self._models[MT], "messages": messages, "temperature": 0}
        reply = self._server.post_json(MT, "/chat/completions", body)
        return self._server.parsed(reply, _first_choice).strip()

    def _speak(self, text: str) -> bytes:
        body = {"model": self._models[TTS], "input": text, "voice": self._voice, "response_format": "pcm"}
        speech = self._server.post_json(TTS, "/audio/speech", body)
        return speech[: len(speech) // 2 * 2]


def _first_choice(reply: Any) -> str:
    return str(reply["choices"][0]["message"]["content"])


def _key(options: dict[str, str]) -> str:
    file = options.get("key-file")
    if not file:
        return options.get("key", "")
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"key-file {file} of the openai engine cannot be read: {error}") from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:  # noqa: PLR2004  # an hour
        raise _invalid(f"timeout-s of the openai engine is {text!r}; it must be a number of seconds up to 3600")
    return seconds


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)

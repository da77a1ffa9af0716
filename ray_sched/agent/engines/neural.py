"""The neural engine: adapters for faster-whisper, CTranslate2 with OPUS-MT, and Piper.

Each loads real weights from a folder on the node and is used only when an option names one. It never downloads.
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from msgspec.structs import replace

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, Work
from ray_sched.core.capability import ANY, ASR, MT, TTS, Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.wire.samples import Samples

MODEL_DIR = "/opt/ray_sched/models"
"""Where models are unless option ``model-dir`` says otherwise (label values cannot hold a slash)."""

_END = "</s>"


class NeuralEngine:
    """Options: ``asr-model``, ``mt-model``, ``tts-model``, each a name below ``model-dir``.

    ``asr-model``: a faster-whisper folder. ``mt-model``: a folder with one CTranslate2 OPUS-MT model per pair, named
    ``en-es``, each with ``source.spm`` and ``target.spm``. ``tts-model``: a folder with one Piper voice per language,
    named ``es.onnx``, with its ``es.onnx.json``. A service without its option is not offered.
    """

    isolation: ClassVar[Literal["thread", "process"]] = "process"
    warms_up: ClassVar[bool] = True

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Take the options; no path is looked at before :meth:`load`."""
        folder = Path(options.get("model-dir", MODEL_DIR))
        self._paths = {s: folder / options[f"{s}-model"] for s in (ASR, MT, TTS) if options.get(f"{s}-model")}
        if not self._paths:
            raise SchedError(
                Code.INVALID_CONFIGURATION,
                "the neural engine needs at least one of the options asr-model, mt-model and tts-model",
            )
        self._declared = declared
        self._whisper: Any = None
        self._translators: dict[str, _Translator] = {}
        self._voices: dict[str, Any] = {}

    def capability(self) -> Capability:
        """The declaration, without the services that have no model and without open pairs."""
        return replace(
            self._declared,
            asr=self._declared.asr if ASR in self._paths else (),
            mt=tuple(p for p in self._declared.mt if ANY not in p.split(":")) if MT in self._paths else (),
            tts=self._declared.tts if TTS in self._paths else (),
        )

    def load(self) -> None:
        """Load every declared model; :class:`SchedError` (MISSING_PART) names the package or path that is not there."""
        can, device = self.capability(), "cuda" if self._declared.has_gpu else "cpu"
        if can.asr:
            path, package = self._path(ASR), _package("faster_whisper", "faster-whisper")
            self._whisper = package.WhisperModel(str(path), device=device, local_files_only=True)
        for pair in can.mt:
            self._translators[pair] = _Translator(self._path(MT, pair.replace(":", "-")), device)
        for language in can.tts:
            path, package = self._path(TTS, f"{language}.onnx"), _package("piper", "piper-tts")
            self._voices[language] = package.PiperVoice.load(str(path), use_cuda=self._declared.has_gpu)

    def admit(self, work: Work) -> str | None:
        """Take everything the capability covers."""
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Recognise, translate, speak. A partial comes after each segment that Whisper finds."""
        text = self._recognise(audio, work.src, emit_partial) if ASR in work.services else ""
        translation = _of(self._translators, MT, f"{work.src}:{work.tgt}")(text) if MT in work.services else ""
        if TTS not in work.services:
            return EngineResult(text=text, translation=translation)
        voice = _of(self._voices, TTS, work.tgt)
        spoken = translation if MT in work.services else text
        speech = b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize(spoken)) if spoken else b""
        rate_hz = int(voice.config.sample_rate) if speech else 0
        return EngineResult(text=text, translation=translation, speech=speech, speech_rate_hz=rate_hz)

    def _recognise(self, audio: Samples, language: str, emit_partial: Callable[[str], None]) -> str:
        if self._whisper is None:
            raise ModelNotAvailableError(ASR, "no faster-whisper model is loaded on this node")
        segments, _ = self._whisper.transcribe(audio.astype(np.float32) / 32768, language=language.partition("-")[0])
        texts: list[str] = []
        for segment in segments:
            texts.append(segment.text.strip())
            emit_partial(" ".join(texts))
        return " ".join(texts)

    def _path(self, service: str, name: str = "") -> Path:
        path = self._paths[service] / name
        if not path.exists():
            raise SchedError(Code.MISSING_PART, f"the {service} model {path} of the neural engine is not on this node")
        return path


class _Translator:
    """One OPUS-MT model, converted for CTranslate2."""

    def __init__(self, path: Path, device: str) -> None:
        pieces = _package("sentencepiece", "sentencepiece")
        self._translator: Any = _package("ctranslate2", "ctranslate2").Translator(str(path), device=device)
        self._source: Any = pieces.SentencePieceProcessor(model_file=str(path / "source.spm"))
        self._target: Any = pieces.SentencePieceProcessor(model_file=str(path / "target.spm"))
        config = path / "config.json"  # one converter leaves the end mark to the caller, the other adds it
        adds_end = config.exists() and json.loads(config.read_text()).get("add_source_eos", False)
        self._end = [] if adds_end else [_END]

    def __call__(self, text: str) -> str:
        if not text:
            return ""
        tokens = [*self._source.encode(text, out_type=str), *self._end]
        best = self._translator.translate_batch([tokens])[0].hypotheses[0]
        return str(self._target.decode([token for token in best if token != _END]))


def _package(name: str, wheel: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SchedError(Code.MISSING_PART, f"the neural engine needs {wheel}; run: pip install {wheel}") from error


def _of(models: dict[str, Any], service: str, name: str) -> Any:
    if name not in models:
        raise ModelNotAvailableError(service, f"no {service} model for {name} is loaded on this node")
    return models[name]

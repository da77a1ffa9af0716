"""The neural engine: Whisper with faster-whisper, OPUS-MT with CTranslate2, and Piper, each with real weights.

A service without its option is not offered. Models are folders on the node, or names in Hugging Face's cache, which its
own library fills (``weights``).
"""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from msgspec.structs import replace

from ray_sched.agent.engine import BatchItem, EngineResult, Isolation, ModelNotAvailableError, Work
from ray_sched.agent.engines.opus import Translator, pair_of
from ray_sched.agent.engines.piper import Voice, voices
from ray_sched.agent.engines.weights import MODEL_DIR, find, folder
from ray_sched.agent.engines.whisper import COMPUTE_TYPES, REPOSITORIES, Heard, Whisper, WhisperOptions, languages_of
from ray_sched.agent.machine import usable_cores
from ray_sched.core.capability import ANY, ASR, AUTO, MT, TTS, Capability, nearest, translated_as
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.recognition import NOTHING_MORE, Recognition
from ray_sched.wire.samples import Samples

ModelT = TypeVar("ModelT")


class NeuralEngine:
    """Options, all strings.

    ``asr-model``: a Whisper folder for CTranslate2, or a name such as ``tiny`` or ``Systran/faster-whisper-tiny``.
    ``mt-model``: a folder with one OPUS-MT model per pair, named ``en-es``; or a single one, a folder or a name, with
    the pair in it. ``tts-model``: a folder with Piper voices, ``es.onnx`` or ``es_ES-davefx-medium.onnx``, or one.
    ``model-dir``: where relative folders are. ``compute-type``: of the numbers, such as ``int8`` or ``float16``.
    ``workers``: runs that go on at the same time, as many as slots unless said, and without a GPU no more than cores.
    ``cpu-threads``: of each of them, the replica's cores shared out unless said. ``beam-size``: of Whisper. ``vad``:
    ``no`` lets Whisper hear silence, too.
    """

    isolation: ClassVar[Isolation] = "process"
    is_thread_safe: ClassVar[bool] = True
    max_batch: ClassVar[int] = 16
    max_batch_without_gpu: ClassVar[int] = 1

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Check the options; no path is looked at before :meth:`capability`. Raises INVALID_CONFIGURATION."""
        named = {service: options.get(f"{service}-model", "") for service in (ASR, MT, TTS)}
        self._models = {service: model for service, model in named.items() if model}
        if not self._models:
            raise _invalid("the neural engine needs at least one of the options asr-model, mt-model and tts-model")
        self._model_dir = options.get("model-dir", MODEL_DIR)
        self._declared = declared
        self._options = _load_options(declared, options)
        self._n_workers = _count(options, "workers", 0)
        self._n_threads = _count(options, "cpu-threads", 0)
        self._n_cores, self._n_replicas = _count(options, "threads", 0), _count(options, "replicas", 1)
        self.share(1)
        self._whisper: Whisper | None = None
        self._translators: dict[str, Translator] = {}
        self._voices: dict[str, Voice] = {}

    def share(self, n_slots: int) -> None:
        """As many workers as slots, and the cores shared out among them, unless the options say otherwise.

        More workers than cores would only take turns: 16 of them on 2 cores have 700 MB, 2 have 450 MB and are as fast.
        """
        cores = self._n_cores or max(1, usable_cores() // self._n_replicas)
        workers = self._n_workers or min(n_slots, MAX_WORKERS if self._declared.has_gpu else cores)
        threads = self._n_threads or max(1, cores // workers)
        self._options = replace(self._options, workers=workers, cpu_threads=threads)

    def capability(self) -> Capability:
        """What the models can do, narrowed to what is declared if anything is. Downloads what has to be.

        Raises SchedError MISSING_PART.
        """
        declared = self._declared
        return replace(
            declared,
            asr=self._recognised() if ASR in self._models else (),
            mt=_narrowed(tuple(self._pairs()), tuple(pair for pair in declared.mt if ANY not in pair.split(":"))),
            tts=_narrowed(tuple(self._spoken()), declared.tts),
        )

    def load(self) -> None:
        """Load what the capability names; :class:`SchedError` (MISSING_PART) names the package or path not there."""
        can, options = self.capability(), self._options
        if can.asr:
            self._whisper = Whisper(self._find(ASR), Path(self._models[ASR]).name, options)
        pairs, spoken = self._pairs(), self._spoken()
        for pair in can.mt:
            self._translators[pair] = Translator(
                pairs[pair],
                device=options.device,
                compute_type=options.compute_type,
                cpu_threads=options.cpu_threads,
                workers=options.workers,
            )
        by_path = {path: Voice(path, has_gpu=self._declared.has_gpu) for path in {spoken[tag] for tag in can.tts}}
        self._voices = {tag: by_path[spoken[tag]] for tag in can.tts}
        self._can = can

    def warm_up(self) -> None:
        """Let each model run once: Whisper on silence, which it is made to hear, the others on a few words."""
        if self._whisper:
            self._whisper.warm_up(next(tag for tag in self._can.asr if tag != AUTO))
        for translate in self._translators.values():
            translate(_A_FEW_WORDS)
        for speak in set(self._voices.values()):
            speak(_A_FEW_WORDS)

    def admit(self, work: Work) -> str | None:
        """Take everything the capability covers."""
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Recognise, translate from what was found, speak. Partials say what was recognised so far."""
        heard = _given(work)
        if ASR in work.services:
            heard = self._asr().recognise(audio, work, self._can.asr, emit_partial)
        pair = self._pair(heard.recognition, work) if MT in work.services else None
        translation = self._translators[pair](heard.text) if pair else heard.text
        return self._result(work, heard, translation if MT in work.services else "")

    def batch_key(self, work: Work) -> Hashable:
        """What is heard and translated in the same way; partial texts and chance need passes of their own."""
        hints = work.hints
        if work.wants_partials or hints.temperature:
            return work.job_id, work.attempt
        return work.services, work.src, work.tgt, hints.prompt, hints.hotwords, frozenset(hints.options.items())

    def run_batch(self, items: Sequence[BatchItem]) -> list[EngineResult | Exception]:
        """The same of several, whose windows Whisper hears together, and whose sentences are translated together.

        What one pass does not settle is run after it, by itself.
        """
        if len(items) == 1:
            return [self.run(*items[0])]
        services = items[0].work.services
        heard = self._hear(items) if ASR in services else [_given(item.work) for item in items]
        translations = self._translate(items, heard) if MT in services else [""] * len(items)
        return [
            translation if isinstance(translation, Exception) else self._result(item.work, one, translation)
            for item, one, translation in zip(items, heard, translations, strict=True)
        ]

    def _asr(self) -> Whisper:
        if self._whisper is None:
            raise ModelNotAvailableError(ASR, "no asr model is loaded on this node")
        return self._whisper

    def _hear(self, items: Sequence[BatchItem]) -> list[Heard]:
        whisper, languages = self._asr(), self._can.asr
        return [
            one or whisper.recognise(item.audio, item.work, languages, item.emit_partial)
            for item, one in zip(items, whisper.recognise_together(items, languages), strict=True)
        ]

    def _translate(self, items: Sequence[BatchItem], heard: Sequence[Heard]) -> list[str | ModelNotAvailableError]:
        """All of one pair together; of each what it is or why there is none."""
        found: list[str | ModelNotAvailableError] = [one.text for one in heard]
        pairs: dict[str, list[int]] = {}
        for n, (item, one) in enumerate(zip(items, heard, strict=True)):
            try:
                pair = self._pair(one.recognition, item.work)
            except ModelNotAvailableError as error:
                found[n] = error
            else:
                if pair:
                    pairs.setdefault(pair, []).append(n)
        for pair, numbers in pairs.items():
            texts = self._translators[pair].translate([heard[n].text for n in numbers])
            for n, text in zip(numbers, texts, strict=True):
                found[n] = text
        return found

    def _pair(self, recognition: Recognition, work: Work) -> str | None:
        """The translation model for what was found; None: it is in the target's language already."""
        found = recognition.language or work.src
        source = translated_as(found, work.tgt, replace(self._declared, mt=tuple(self._translators)))
        if source is None:
            service = f"{MT}:{found}:{work.tgt}" if work.src == AUTO else MT
            raise ModelNotAvailableError(service, f"no mt model for {found}:{work.tgt} is loaded on this node")
        return f"{source}:{work.tgt}" if source else None

    def _result(self, work: Work, heard: Heard, translation: str) -> EngineResult:
        speech, rate_hz = b"", 0
        if TTS in work.services:
            voice = _of(self._voices, TTS, nearest(work.tgt, tuple(self._voices)) or work.tgt)
            speech, rate_hz = voice(translation if MT in work.services else heard.text)
        return EngineResult(
            text=heard.text,
            translation=translation,
            speech=speech,
            speech_rate_hz=rate_hz,
            recognition=heard.recognition,
        )

    def _recognised(self) -> tuple[str, ...]:
        languages = languages_of(self._find(ASR))
        declared = self._declared.asr
        known = tuple(tag for tag in declared if nearest(tag, languages)) if declared else languages
        return tuple(sorted({*known, AUTO})) if AUTO in languages and len(known) > 1 else known

    def _pairs(self) -> dict[str, Path]:
        """The translation models by their pair."""
        if MT not in self._models:
            return {}
        name = self._models[MT]
        place = folder(name, self._model_dir)
        below = {} if place is None else {pair_of(it.name): it for it in sorted(place.iterdir()) if it.is_dir()}
        pairs = {pair: path for pair, path in below.items() if pair}
        if pairs:
            return pairs
        pair = pair_of(Path(name.replace("--", "/")).name)
        if pair is None:
            raise SchedError(
                Code.MISSING_PART,
                f"the mt model {name} of the neural engine holds no folder named after a pair, such as en-es, and is"
                " not named after one",
            )
        return {pair: self._find(MT)}

    def _spoken(self) -> dict[str, Path]:
        if TTS not in self._models:
            return {}
        name = self._models[TTS]
        place = folder(name, self._model_dir)
        found = voices(place) if place else {}
        if not found:
            raise SchedError(
                Code.MISSING_PART,
                f"the tts model {name} of the neural engine is not on this node: {Path(self._model_dir) / name} must be"
                " a Piper voice or a folder of them, such as es_ES-davefx-medium.onnx with its .onnx.json",
            )
        return found

    def _find(self, service: str) -> Path:
        return find(service, self._models[service], self._model_dir, REPOSITORIES if service == ASR else {})


def _given(work: Work) -> Heard:
    """The text of a job without recognition."""
    return Heard(work.hints.text, NOTHING_MORE)


def _narrowed(installed: tuple[str, ...], declared: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(installed) & set(declared) if declared else set(installed)))


def _load_options(declared: Capability, options: dict[str, str]) -> WhisperOptions:
    compute_type = options.get("compute-type", "")
    if compute_type and compute_type not in COMPUTE_TYPES:
        raise _invalid(f"compute-type {compute_type!r} is unknown; it is one of {', '.join(COMPUTE_TYPES)}")
    vad = options.get("vad", "yes")
    if vad not in {"yes", "no"}:
        raise _invalid(f"option vad is {vad!r}; it must be yes or no")
    return WhisperOptions(
        device="cuda" if declared.has_gpu else "cpu",
        compute_type=compute_type,
        beam_size=_count(options, "beam-size", 5),
        leaves_silence_out=vad == "yes",
    )


_A_FEW_WORDS = "1 2 3."
"""In any language."""
MAX_WORKERS = 64
"""More runs at the same time than this wait for one another inside the model."""
MAX_COUNT = 1024


def _count(options: dict[str, str], name: str, default: int) -> int:
    if name not in options:
        return default
    text = options[name]
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_COUNT):
        raise _invalid(f"option {name} of the neural engine is {text!r}; it must be a number from 1 to {MAX_COUNT}")
    return int(text)


def _of(models: dict[str, ModelT], service: str, name: str) -> ModelT:
    if name not in models:
        raise ModelNotAvailableError(service, f"no {service} model for {name} is loaded on this node")
    return models[name]


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)

"""Whisper, as faster-whisper runs it: recognises about a hundred languages, and which of them is spoken.

One model serves several threads: its weights are in memory once, and each worker has what one run needs beside them.
Silence is left out before the model hears it: in three seconds of it Whisper tiny hears a "You".
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from ray_sched.agent.engine import BatchItem, Work
from ray_sched.agent.engines.weights import package
from ray_sched.agent.engines.whisper_pass import Utterance, WhisperPass
from ray_sched.core.agreement import LocalAgreement, as_heard
from ray_sched.core.capability import AUTO, nearest
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.core.messages.fields import MAX_TEXT
from ray_sched.core.messages.recognition import Option, Recognition, Segment, Word
from ray_sched.wire.samples import Samples

REPOSITORIES = {
    name: f"Systran/faster-whisper-{name}"
    for name in ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v3")
} | {
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
}
"""Names of Whisper's sizes and the repositories with their weights for CTranslate2."""

COMPUTE_TYPES = ("default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16",
                 "bfloat16", "float32")  # fmt: skip

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_MULTILINGUAL_VOCABULARY = 51_865
"""Tokens: the English models have one less."""
_OLD_TAGS = {"iw": "he"}
_FLOAT = 1 / 32_768
_NUMBERS: dict[str, tuple[type, float, float]] = {
    "beam_size": (int, 1, 16),
    "best_of": (int, 1, 16),
    "no_repeat_ngram_size": (int, 0, 16),
    "patience": (float, 0.1, 4),
    "length_penalty": (float, 0, 4),
    "repetition_penalty": (float, 0.5, 4),
    "compression_ratio_threshold": (float, 0, 100),
    "log_prob_threshold": (float, -100, 0),
    "no_speech_threshold": (float, 0, 1),
}
"""Options of a job that are passed to faster-whisper, with their kinds and the least and most that are taken."""
_SWITCHES = frozenset({"condition_on_previous_text", "without_timestamps", "vad_filter"})


PARTIAL_EVERY = 3 * SAMPLE_RATE_HZ // 2
"""Samples: a pass takes as long for one second as for thirty, so there are few of them."""
MAX_PARTIAL_PASSES = 5


class Heard(NamedTuple):
    """What was recognised."""

    text: str
    recognition: Recognition


class WhisperOptions(Struct, frozen=True, kw_only=True):
    """How the model is loaded."""

    device: str = "cpu"
    compute_type: str = ""
    """Of the numbers; empty: ``int8`` on a processor, ``float16`` on a GPU."""
    cpu_threads: int = 0
    """Of each worker; 0: as the environment says."""
    workers: int = 1
    """Runs that go on at the same time."""
    beam_size: int = 5
    leaves_silence_out: bool = True


def languages_of(folder: Path) -> tuple[str, ...]:
    """The languages of a model's vocabulary, ``auto`` first if there is more than English.

    Raises SchedError MISSING_PART for a folder without a vocabulary.
    """
    for file in (folder / "vocabulary.json", folder / "vocabulary.txt"):
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        n_tokens = len(json.loads(text)) if file.suffix == ".json" else len(text.split("\n")) - text.endswith("\n")
        if n_tokens < _MULTILINGUAL_VOCABULARY:
            return ("en",)
        found = {_OLD_TAGS.get(tag, tag) for tag in _LANGUAGE.findall(text)}
        return (AUTO, *sorted(found))
    raise SchedError(
        Code.MISSING_PART,
        f"{folder} has no vocabulary.json or vocabulary.txt; a Whisper model is a folder that was converted for"
        " CTranslate2, such as that of Systran/faster-whisper-tiny",
    )


class Whisper:
    """A loaded model. ``recognise`` may be called by as many threads as there are workers."""

    def __init__(self, folder: Path, name: str, options: WhisperOptions) -> None:
        """Load the model. Raises SchedError MISSING_PART for a package or a file that is not there."""
        module = package("faster_whisper", "faster-whisper", "neural")
        self.name = f"whisper {name}"
        self._options = options
        try:
            self._model: Any = module.WhisperModel(
                str(folder),
                device=options.device,
                compute_type=options.compute_type or ("float16" if options.device == "cuda" else "int8"),
                cpu_threads=options.cpu_threads,
                num_workers=options.workers,
                local_files_only=True,
            )
        except ValueError as error:  # such as a compute type that this processor does not have
            sentence = f"the Whisper model {folder} cannot be loaded: {error}"
            raise SchedError(Code.INVALID_CONFIGURATION, sentence) from error
        self._pass = WhisperPass(self._model)

    def warm_up(self, language: str) -> None:
        """Run once, on a second of silence, of which nothing is left out."""
        silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
        parts, _ = self._model.transcribe(silence, language=_base(language), beam_size=1, temperature=0.0)
        list(parts)  # it runs while it is iterated

    def recognise(
        self, audio: Samples, work: Work, languages: tuple[str, ...], emit_partial: Callable[[str], None]
    ) -> Heard:
        """The text, its language, and its parts with their times. ``languages``: those that ``auto`` chooses from.

        ``emit_partial``, if somebody looks, is called with the words that two hypotheses about a growing beginning of
        the audio agree on; that costs up to MAX_PARTIAL_PASSES passes more.
        """
        floats = _floats(audio)
        language, confidence = _base(work.src), None
        if language == AUTO:
            language, confidence = self._spoken(floats, _candidates(work, languages))
        if work.wants_partials:
            self._emit_partials(floats, language, work, emit_partial)
        parts, _ = self._model.transcribe(floats, language=language, **self._settings(work))
        return self._heard(parts, language if work.src == AUTO else "", confidence)

    def recognise_together(self, items: Sequence[BatchItem], languages: tuple[str, ...]) -> list[Heard | None]:
        """The same of several, in one pass; None: ``recognise`` has to be asked.

        They have equal sources and hints, but for words and candidates.
        """
        utterances = [
            Utterance(
                _floats(audio),
                wants_words=work.hints.words,
                language="" if work.src == AUTO else _base(work.src),
                candidates=_candidates(work, languages),
            )
            for work, audio, _ in items
        ]
        return [
            parts and self._heard(parts.segments, parts.language if work.src == AUTO else "", parts.language_confidence)
            for (work, _, _), parts in zip(items, self._pass(utterances, self._settings(items[0].work)), strict=True)
        ]

    def _heard(self, parts: Iterable[Any], language: str, confidence: float | None) -> Heard:
        """``language``: that was found."""
        text = ""
        segments: list[Segment] = []
        words: list[Word] = []
        for part in parts:
            text += part.text  # a part may begin in the middle of a word: only its own spaces separate it
            segments.append(_segment(part))
            words += _words(part.words or ())
        recognition = Recognition(
            language=language,
            language_confidence=confidence,
            segments=tuple(segments),
            words=tuple(words),
            model=self.name,
        )
        return Heard(text.strip(), recognition)

    def _emit_partials(self, floats: Any, language: str, work: Work, emit_partial: Callable[[str], None]) -> None:
        agreement, told = LocalAgreement(as_heard), ""
        settings = self._settings(work) | {"beam_size": 1, "word_timestamps": False}
        for end in partial_ends(len(floats)):
            parts, _ = self._model.transcribe(floats[:end], language=language, **settings)
            if (agreed := agreement.add("".join(part.text for part in parts))) != told:
                told = agreed
                emit_partial(told)

    def _spoken(self, floats: Any, languages: frozenset[str]) -> tuple[str, float]:
        """The most likely of these languages, and how likely it is among all that the model knows."""
        _, _, likely = self._model.detect_language(floats, vad_filter=False)
        return next((tag, chance) for tag, chance in likely if tag in languages)

    def _settings(self, work: Work) -> dict[str, Any]:
        hints, options = work.hints, self._options
        settings: dict[str, Any] = {
            "beam_size": options.beam_size,
            "vad_filter": options.leaves_silence_out,
            "word_timestamps": hints.words,
        }
        if hints.prompt:
            settings["initial_prompt"] = hints.prompt
        if hints.hotwords:
            settings["hotwords"] = ", ".join(hints.hotwords)
        if hints.temperature is not None:
            settings["temperature"] = hints.temperature
        return settings | _usable(hints.options)


def _floats(audio: Samples) -> Any:
    return audio.astype(np.float32) * _FLOAT


def _usable(options: Mapping[str, Option]) -> dict[str, Option]:
    """What faster-whisper knows and can bear: what is bad is left out: it would count as a failure of the node."""
    taken: dict[str, Option] = {}
    for name, value in options.items():
        if isinstance(value, bool):
            taken |= {name: value} if name in _SWITCHES else {}
        elif isinstance(value, int | float) and name in _NUMBERS:
            kind, least, most = _NUMBERS[name]
            taken |= {name: kind(value)} if least <= value <= most and (kind is float or value == int(value)) else {}
    return taken


def partial_ends(n_samples: int) -> range:
    """Where the beginnings of so much audio end that are heard for partial texts: not closer than PARTIAL_EVERY."""
    step = max(PARTIAL_EVERY, -(-n_samples // (MAX_PARTIAL_PASSES + 1)))
    return range(step, n_samples, step)


def _candidates(work: Work, languages: tuple[str, ...]) -> frozenset[str]:
    """What may be spoken: what the job says, or all that the node serves."""
    named = [nearest(tag, languages) for tag in work.hints.candidates]
    return frozenset(_base(tag) for tag in named if tag) or frozenset(map(_base, languages)) - {AUTO}


def _base(tag: str) -> str:
    """The language of a tag: Whisper knows no regions."""
    return tag.partition("-")[0]


def _segment(part: Any) -> Segment:
    return Segment(_ms(part.start), _ms(part.end), part.text.strip(), float(np.exp(min(part.avg_logprob, 0.0))))


def _words(found: Iterable[Any]) -> list[Word]:
    return [Word(_ms(it.start), _ms(it.end), it.word.strip()[:MAX_TEXT], float(it.probability)) for it in found]


def _ms(seconds: float) -> int:
    return max(0, round(float(seconds) * 1000))

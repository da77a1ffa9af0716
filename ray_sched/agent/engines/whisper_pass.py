"""One pass of Whisper for several utterances: their windows are encoded, decoded and timed together.

faster-whisper's own batches are of one recording: they have one language, keep the first temperature only, and the
end of one window moves the words of the next. So a pass is made here, of CTranslate2's batches and faster-whisper's
parts, and follows the rules by which ``WhisperModel.transcribe`` decides about a window. What a single pass does not
settle it leaves to that: audio without speech or of more than one window, a text that is to be tried again at a higher
temperature, a window that was not heard to its end.
"""

import zlib
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

from ray_sched.agent.engines.weights import package
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ

Floats = Any
"""Samples between -1 and 1, an array of 32-bit floats."""
_TIME_PRECISION_S = 0.02
"""Of Whisper's time tokens."""
_PASSED_ON = ("beam_size", "patience", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "suppress_blank")
Settings = Mapping[str, Any]
"""Arguments of ``WhisperModel.transcribe``."""


class Utterance(NamedTuple):
    """What a pass is given of one run."""

    audio: Floats
    wants_words: bool
    language: str
    """Empty: it is to be found among these:"""
    candidates: frozenset[str] = frozenset()


class Parts(NamedTuple):
    """What was heard of one utterance, as ``transcribe`` returns it."""

    segments: Sequence[Any]
    language: str
    language_confidence: float | None
    """None: it was not looked for."""


class _Window(NamedTuple):
    """The speech of one utterance, as the model hears it."""

    features: Any
    n_frames: int
    speech: list[dict[str, int]] | None
    """Where it was in the audio, if what is none of it was left out."""


class Cut(NamedTuple):
    """The tokens of a window, cut where the model has put times."""

    pieces: list[tuple[float, float, list[int]]]
    """Start and end in seconds, and tokens."""
    is_whole: bool
    """The window was heard to its end."""


class WhisperPass:
    """Passes of one model. One at a time."""

    def __init__(self, model: Any) -> None:
        """``model``: a ``faster_whisper.WhisperModel``."""
        self._model = model
        self._package = package("faster_whisper", "faster-whisper", "neural")
        arguments = signature(model.transcribe).parameters.values()
        self._defaults = {one.name: one.default for one in arguments if one.default is not Parameter.empty}

    def __call__(self, utterances: Sequence[Utterance], given: Settings) -> list[Parts | None]:
        """What was heard of each; None: ``transcribe`` has to hear it. ``given``: the arguments that it would have."""
        settings = {**self._defaults, **given}
        parts: list[Parts | None] = [None] * len(utterances)
        windows = {n: found for n, one in enumerate(utterances) if (found := self._window(one.audio, settings))}
        if windows:
            numbers = list(windows)
            features = np.stack([window.features for window in windows.values()])
            encoded = self._encode(features, is_cut=any(utterances[n].wants_words for n in numbers))
            languages = self._languages(encoded, [utterances[n] for n in numbers])
            results = self._decode(encoded, [language for language, _ in languages], settings)
            for row, n in enumerate(numbers):
                language, confidence = languages[row]
                own = _row(encoded, row) if utterances[n].wants_words else None
                segments = self._segments(results[row], windows[n], language, settings, own)
                parts[n] = None if segments is None else Parts(segments, language, confidence)
        return parts

    def _window(self, audio: Floats, settings: Settings) -> _Window | None:
        """None: there is no speech, or more than one window of it."""
        model, speech = self._model, None
        if settings["vad_filter"]:
            vad = self._package.vad
            speech = vad.get_speech_timestamps(audio, vad.VadOptions())
            chunks, _ = vad.collect_chunks(audio, speech)
            audio = np.concatenate(chunks)
        n_frames = len(audio) // model.feature_extractor.hop_length
        if not 0 < n_frames <= model.feature_extractor.nb_max_frames:
            return None
        features = model.feature_extractor(audio)[:, :n_frames]
        return _Window(self._package.audio.pad_or_trim(features), n_frames, speech)

    def _encode(self, features: Any, *, is_cut: bool) -> Any:
        """Of a GPU's result rows can be taken out where it has come back from there."""
        model = self._model.model
        return model.encode(_storage(features), to_cpu=is_cut and model.device != "cpu")

    def _languages(self, encoded: Any, utterances: Sequence[Utterance]) -> list[tuple[str, float | None]]:
        """Of each, and how likely it is among all that the model knows, if it was looked for."""
        if all(one.language for one in utterances):
            return [(one.language, None) for one in utterances]
        chances = [
            [(token.strip("<|>"), chance) for token, chance in row]
            for row in self._model.model.detect_language(encoded)
        ]
        return [
            (one.language, None) if one.language else next(found for found in row if found[0] in one.candidates)
            for one, row in zip(utterances, chances, strict=True)
        ]

    def _decode(self, encoded: Any, languages: Sequence[str], settings: Settings) -> list[Any]:
        prompts = [self._prompt(language, settings) for language in languages]
        transcribe = self._package.transcribe
        suppressed = transcribe.get_suppressed_tokens(self._tokenizer(languages[0]), [-1])
        results: list[Any] = self._model.model.generate(
            encoded,
            prompts,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=suppressed,
            max_length=self._model.max_length,
            max_initial_timestamp_index=round(settings["max_initial_timestamp"] / _TIME_PRECISION_S),
            **{name: settings[name] for name in _PASSED_ON},
        )
        return results

    def _prompt(self, language: str, settings: Settings) -> list[int]:
        tokenizer, before = self._tokenizer(language), settings["initial_prompt"]
        prompt: list[int] = self._model.get_prompt(
            tokenizer,
            tokenizer.encode(" " + before.strip()) if before else [],
            without_timestamps=settings["without_timestamps"],
            hotwords=settings["hotwords"],
        )
        return prompt

    def _tokenizer(self, language: str) -> Any:
        model = self._model
        return self._package.tokenizer.Tokenizer(
            model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
        )

    def _segments(
        self, result: Any, window: _Window, language: str, settings: Settings, encoded: Any
    ) -> list[Any] | None:
        """What was heard in a window, or None if that is not settled. ``encoded``: None if no words are wanted."""
        tokenizer, tokens = self._tokenizer(language), result.sequences_ids[0]
        text = tokenizer.decode(tokens).strip()
        confidence, repeats = _log_probability(result, settings), _compression_ratio(text)
        verdict = judge(confidence, repeats, result.no_speech_prob, settings)
        if verdict is None:
            return None
        duration_s = window.n_frames * self._model.feature_extractor.time_per_frame
        cut = cut_at_times(tokens, tokenizer.timestamp_begin, duration_s) if verdict else Cut([], is_whole=True)
        if not cut.is_whole:
            return None
        pieces: list[dict[str, Any]] = [
            {"seek": 0, "start": start, "end": end, "tokens": some} for start, end, some in cut.pieces
        ]
        if encoded is not None and pieces:
            before, after = settings["prepend_punctuations"], settings["append_punctuations"]
            self._model.add_word_timestamps([pieces], tokenizer, encoded, window.n_frames, before, after, 0.0)
        transcribe = self._package.transcribe
        segments = [
            transcribe.Segment(
                id=number,
                seek=0,
                start=piece["start"],
                end=piece["end"],
                text=said,
                tokens=piece["tokens"],
                avg_logprob=confidence,
                compression_ratio=repeats,
                no_speech_prob=result.no_speech_prob,
                words=None if encoded is None else [transcribe.Word(**word) for word in piece["words"]],
                temperature=0.0,
            )
            for number, piece in enumerate(pieces, start=1)
            if (said := tokenizer.decode(piece["tokens"])).strip() and piece["start"] != piece["end"]
        ]
        if window.speech:
            return list(transcribe.restore_speech_timestamps(segments, window.speech, SAMPLE_RATE_HZ))
        return segments


def judge(log_probability: float, compression_ratio: float, no_speech: float, settings: Settings) -> bool | None:
    """Whether a window holds what was heard in it; None: it is to be heard again, at a higher temperature.

    The three thresholds are Whisper's own (Radford et al., "Robust Speech Recognition via Large-Scale Weak
    Supervision", 2022, section 4.5).
    """
    least = settings["log_prob_threshold"]
    if no_speech > settings["no_speech_threshold"] and log_probability <= least:
        return False
    return None if log_probability < least or compression_ratio > settings["compression_ratio_threshold"] else True


def cut_at_times(tokens: Sequence[int], first_time: int, duration_s: float) -> Cut:
    """Cut the tokens of a window where two time tokens meet: the end of a segment and the beginning of the next.

    ``first_time``: the token of 0.00 s; those of later times follow it.
    """
    is_time = [token >= first_time for token in tokens]
    cuts = [n for n in range(1, len(tokens)) if is_time[n - 1] and is_time[n]]

    def seconds(token: int) -> float:
        return (token - first_time) * _TIME_PRECISION_S

    if not cuts:
        times = [token for token in tokens if token > first_time]
        return Cut([(0.0, seconds(times[-1]) if times else duration_s, list(tokens))], is_whole=True)
    ends_with_time = is_time[-1] and not is_time[-2]
    if ends_with_time:
        cuts.append(len(tokens))
    pieces = [list(tokens[start:end]) for start, end in zip([0, *cuts], cuts, strict=False)]
    timed = [(seconds(piece[0]), seconds(piece[-1]), piece) for piece in pieces]
    return Cut(timed, is_whole=ends_with_time or timed[-1][1] >= duration_s)


def _log_probability(result: Any, settings: Settings) -> float:
    """The mean over the tokens, their end included, of a score that was divided by the length's power."""
    n_tokens = len(result.sequences_ids[0])
    return float(result.scores[0] * n_tokens ** settings["length_penalty"] / (n_tokens + 1))


def _compression_ratio(text: str) -> float:
    """How much of a text is repetition."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _row(encoded: Any, row: int) -> Any:
    return _storage(np.asarray(encoded)[row : row + 1])


def _storage(array: Any) -> Any:
    module = package("ctranslate2", "ctranslate2", "neural")
    return module.StorageView.from_array(np.ascontiguousarray(array))

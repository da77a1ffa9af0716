"""Recognisers of English for the speech engine, offline, each with the model that its own wheel brings.

Measured on the five shipped recordings, one core: Moonshine (tiny, English) 4.2 % word errors, 0.07 s of CPU per second
of audio, 220 MB; PocketSphinx 28 %, 110 MB. PocketSphinx is for machines for which Moonshine has no wheel.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

EmitPartial = Callable[[str], None]

_MEAN = "mean"
_ONE_WORD = f"#JSGF V1.0; grammar {_MEAN}; public <word> = the;"
_PARTIAL_EVERY = SAMPLE_RATE_HZ
_SILENCE = [0.0] * (SAMPLE_RATE_HZ // 2)
"""0.1 s were not enough, 0.3 s were, in 0.02 s of CPU."""


class Recogniser(Protocol):
    """A loaded model. Made once in the process that uses it, which is when the model is loaded."""

    name: ClassVar[str]
    """What a node's option calls it."""
    package: ClassVar[str]
    """The module that has to be there."""
    title: ClassVar[str]
    """What a person calls it."""
    install: ClassVar[str]
    """How it comes onto a machine."""

    def recognise(self, audio: Samples, emit_partial: EmitPartial | None) -> str:
        """What is said in 16 kHz samples; empty if nothing was understood.

        ``emit_partial`` is called about once per second of audio with what was understood so far; None: nobody cares.
        """
        ...


class Moonshine:
    """Moonshine's tiny English model, with its own detection of speech.

    The detection keeps silence silent and cuts what is longer than the model's window, but its memory outlives an
    utterance: after speech it hears a "You" in the silence that follows. So it is given half a second of silence before
    each. Partials come from a stream of their own, twice the CPU again, and the text from the whole: a stream has 7 %
    word errors, the whole 4 %.
    """

    name: ClassVar[str] = "moonshine"
    package: ClassVar[str] = "moonshine_voice"
    title: ClassVar[str] = "Moonshine (tiny, English)"
    install: ClassVar[str] = "pip install 'ray-sched[moonshine]'"

    def __init__(self) -> None:
        import moonshine_voice  # noqa: PLC0415  # only nodes with the moonshine extra have it
        from moonshine_voice.transcriber import Transcriber  # noqa: PLC0415

        model = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
        options = {"return_audio_data": "false"}
        self._transcriber: Any = Transcriber(str(model), moonshine_voice.ModelArch.TINY, options=options)

    def recognise(self, audio: Samples, emit_partial: EmitPartial | None) -> str:
        """What is said, with capital letters and punctuation."""
        if len(audio) == 0:
            return ""
        floats = (audio.astype(np.float32) / 32768).tolist()  # a list: what the library copies fastest
        if emit_partial and len(audio) > _PARTIAL_EVERY:
            self._transcribe(_SILENCE)
            self._emit_partials(floats, emit_partial)
        self._transcribe(_SILENCE)
        return self._transcribe(floats)

    def _transcribe(self, floats: list[float]) -> str:
        return _joined(self._transcriber.transcribe_without_streaming(floats, SAMPLE_RATE_HZ).lines)

    def _emit_partials(self, floats: list[float], emit_partial: EmitPartial) -> None:
        stream = self._transcriber.create_stream(update_interval=float("inf"))  # it updates when it is asked to
        text = ""
        try:
            stream.start()
            for start in range(0, len(floats) - _PARTIAL_EVERY, _PARTIAL_EVERY):
                stream.add_audio(floats[start : start + _PARTIAL_EVERY], SAMPLE_RATE_HZ)
                if (heard := _joined(stream.update_transcription().lines)) != text:
                    text = heard
                    emit_partial(text)
        finally:
            stream.close()


def _joined(lines: Sequence[Any]) -> str:
    return " ".join(line.text.strip() for line in lines if line.text.strip())


class PocketSphinx:
    """One PocketSphinx decoder.

    Measured on the five samples: whole utterances with the mean of their own cepstra (batch) have 28 % word errors,
    one-second blocks with a running mean have 34 to 39 %, by what was decoded before. So the mean is taken from the
    whole utterance by a search for a single word, which costs 2 %, and then the blocks are decoded with it: 28 %, and a
    hypothesis after each block. The decoder adds what it hears to the mean that it has, so its features are made anew
    before each utterance, in 0.03 ms: otherwise a word is understood by what somebody else has said before.
    """

    name: ClassVar[str] = "pocketsphinx"
    package: ClassVar[str] = "pocketsphinx"
    title: ClassVar[str] = "PocketSphinx (US English)"
    install: ClassVar[str] = "pip install 'ray-sched[speech]'"

    def __init__(self) -> None:
        import pocketsphinx  # noqa: PLC0415  # only nodes with the speech extra have it

        self._decoder: Any = pocketsphinx.Decoder(loglevel="ERROR")
        self._words = self._decoder.current_search()
        self._decoder.add_jsgf_string(_MEAN, _ONE_WORD)

    def recognise(self, audio: Samples, emit_partial: EmitPartial | None) -> str:
        """What is said, in lower case."""
        if len(audio) == 0:
            return ""
        self._decoder.set_cmn(self._mean(audio))
        self._decoder.activate_search(self._words)
        self._decoder.start_utt()
        text = ""
        for start in range(0, len(audio), SAMPLE_RATE_HZ):
            self._decoder.process_raw(audio[start : start + SAMPLE_RATE_HZ].tobytes())
            is_last = start + SAMPLE_RATE_HZ >= len(audio)
            if emit_partial and not is_last and (hypothesis := self._hypothesis()) != text:
                text = hypothesis
                emit_partial(text)
        self._decoder.end_utt()
        return self._hypothesis()

    def _mean(self, audio: Samples) -> str:
        self._decoder.reinit_feat()
        self._decoder.activate_search(_MEAN)
        self._decoder.start_utt()
        self._decoder.process_raw(audio.tobytes(), full_utt=True)
        self._decoder.end_utt()
        return str(self._decoder.get_cmn(False))

    def _hypothesis(self) -> str:
        best = self._decoder.hyp()
        return str(best.hypstr).lower() if best else ""


RECOGNISERS: dict[str, type[Recogniser]] = {Moonshine.name: Moonshine, PocketSphinx.name: PocketSphinx}
"""By name, the best first."""


INSTALL = f"{Moonshine.install}, or {PocketSphinx.install} where that has no wheel"
"""What to do where there is no recogniser."""


def find_recogniser(wanted: str = "") -> type[Recogniser] | None:
    """The recogniser of this name, or the best one, if it is installed here. Imports none of them."""
    candidates = [RECOGNISERS[wanted]] if wanted else list(RECOGNISERS.values())
    return next((kind for kind in candidates if importlib.util.find_spec(kind.package)), None)

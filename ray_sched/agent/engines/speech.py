"""The speech engine: real recognition, translation and speech on any CPU, offline.

PocketSphinx recognises English with the model in its own wheel. Apertium translates and eSpeak NG speaks where the
node has them installed. It never downloads anything and never calls itself better than what is installed.
"""

import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import soundfile
from msgspec.structs import replace

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, Work
from ray_sched.core.capability import ASR, MT, TTS, Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

ASR_LANGUAGE = "en"
"""The one language of PocketSphinx' packaged model (US English)."""

APERTIUM_LIMIT_S = 20.0
ESPEAK_LIMIT_S = 20.0
LISTING_LIMIT_S = 5.0

ISO_639_1: dict[str, str] = {
    "afr": "af", "ara": "ar", "arg": "an", "bel": "be", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy",
    "dan": "da", "deu": "de", "ell": "el", "eng": "en", "epo": "eo", "est": "et", "eus": "eu", "fin": "fi",
    "fra": "fr", "gle": "ga", "glg": "gl", "hbs": "sh", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu",
    "ind": "id", "isl": "is", "ita": "it", "kaz": "kk", "lav": "lv", "lit": "lt", "mkd": "mk", "mlt": "mt",
    "msa": "ms", "nld": "nl", "nno": "nn", "nob": "nb", "oci": "oc", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "slk": "sk", "slv": "sl", "spa": "es", "sqi": "sq", "srd": "sc", "srp": "sr", "swe": "sv",
    "tat": "tt", "tur": "tr", "ukr": "uk", "urd": "ur",
}  # fmt: skip
"""ISO 639-3 codes, which Apertium's modes use, to the two-letter tags of jobs."""

_MODE = re.compile(r"([a-z]{2,3})-([a-z]{2,3})\Z")
_VOICE = re.compile(r"\s*\d+\s+(\S+)\s")
_OTHER_LANGUAGE = re.compile(r"\(([A-Za-z-]+) \d+\)")
_MEAN = "mean"
_ONE_WORD = f"#JSGF V1.0; grammar {_MEAN}; public <word> = the;"


class SpeechEngine:
    """PocketSphinx, Apertium and eSpeak NG, in one process per slot. It has no options."""

    isolation: ClassVar[Literal["thread", "process"]] = "process"

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Take what the labels declare; nothing is looked up or loaded yet."""
        del options  # every model is where its package put it
        self._declared = declared
        self._recogniser: _Recogniser | None = None

    def capability(self) -> Capability:
        """What the labels declare, as far as it is installed; what they leave open, as far as it is found."""
        return self._capability

    def load(self) -> None:
        """Load the acoustic and the language model: 0.3 s and 110 MB."""
        if not _has_pocketsphinx():
            if ASR in self._declared.services:
                raise SchedError(
                    Code.MISSING_PART,
                    "the speech engine has no recogniser on this node; run: pip install 'ray-sched[speech]'",
                )
            return
        self._recogniser = _Recogniser()

    def admit(self, work: Work) -> str | None:
        """Take everything the capability covers."""
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Recognise, then translate, then speak. A partial comes about once per second of audio."""
        text = self._recognise(audio, emit_partial) if ASR in work.services else ""
        translation = self._translate(text, work) if MT in work.services else ""
        speech, rate_hz = b"", 0
        if TTS in work.services:
            speech, rate_hz = speak(translation if MT in work.services else text, work.tgt)
        return EngineResult(text=text, translation=translation, speech=speech, speech_rate_hz=rate_hz)

    def _recognise(self, audio: Samples, emit_partial: Callable[[str], None]) -> str:
        if self._recogniser is None:
            raise ModelNotAvailableError(ASR, "PocketSphinx is not installed on this node")
        return self._recogniser.recognise(audio, emit_partial)

    def _translate(self, text: str, work: Work) -> str:
        mode = self._modes.get(f"{work.src}:{work.tgt}")
        if mode is None:
            raise ModelNotAvailableError(MT, f"Apertium on this node does not translate {work.src} to {work.tgt}")
        return translate(text, mode)

    @cached_property
    def _modes(self) -> dict[str, str]:
        return apertium_modes()

    @cached_property
    def _capability(self) -> Capability:
        asr = {ASR_LANGUAGE} if _has_pocketsphinx() else set()
        mt = _narrowed_pairs(self._declared, set(self._modes))
        return replace(
            self._declared,
            asr=tuple(sorted(asr & set(self._declared.asr or asr))),
            mt=tuple(sorted(mt)),
            tts=tuple(sorted(_narrowed_voices(self._declared, mt))),
        )


class _Recogniser:
    """One PocketSphinx decoder.

    Measured on the five samples: whole utterances with the mean of their own cepstra (batch) have 28 % word errors,
    one-second blocks with a running mean have 34 to 39 %, by what was decoded before. So the mean is taken from the
    whole utterance by a search for a single word, which costs 2 %, and then the blocks are decoded with it: 28 to
    30 %, and a hypothesis after each block.
    """

    def __init__(self) -> None:
        import pocketsphinx  # noqa: PLC0415  only nodes with the speech extra have it

        self._decoder: Any = pocketsphinx.Decoder(loglevel="ERROR")
        self._words = self._decoder.current_search()
        self._decoder.add_jsgf_string(_MEAN, _ONE_WORD)

    def recognise(self, audio: Samples, emit_partial: Callable[[str], None]) -> str:
        """What is said in 16 kHz samples, lower-case; empty if nothing was understood."""
        if len(audio) == 0:
            return ""
        self._decoder.set_cmn(self._mean(audio))
        self._decoder.activate_search(self._words)
        self._decoder.start_utt()
        text = ""
        for start in range(0, len(audio), SAMPLE_RATE_HZ):
            self._decoder.process_raw(audio[start : start + SAMPLE_RATE_HZ].tobytes())
            if (hypothesis := self._hypothesis()) != text and start + SAMPLE_RATE_HZ < len(audio):
                text = hypothesis
                emit_partial(text)
        self._decoder.end_utt()
        return self._hypothesis()

    def _mean(self, audio: Samples) -> str:
        self._decoder.activate_search(_MEAN)
        self._decoder.start_utt()
        self._decoder.process_raw(audio.tobytes(), full_utt=True)
        self._decoder.end_utt()
        return str(self._decoder.get_cmn(False))

    def _hypothesis(self) -> str:
        best = self._decoder.hyp()
        return str(best.hypstr).lower() if best else ""


def apertium_modes() -> dict[str, str]:
    """The directed pairs Apertium translates here and the mode of each, such as ``{"en:es": "eng-spa"}``."""
    modes = {}
    for line in _listing(["apertium", "-l"]):
        if match := _MODE.match(line.strip()):
            src, tgt = (ISO_639_1.get(code, code) for code in match.groups())
            modes[f"{src}:{tgt}"] = match.group()
    return modes


def espeak_languages() -> set[str]:
    """The tags eSpeak NG speaks here, lower-case, base languages included."""
    tags: set[str] = set()
    for line in _listing(["espeak-ng", "--voices"])[1:]:
        if match := _VOICE.match(line):
            tags |= {match.group(1).lower(), *(tag.lower() for tag in _OTHER_LANGUAGE.findall(line))}
    return tags | {tag.partition("-")[0] for tag in tags}


def translate(text: str, mode: str) -> str:
    """Translate with an Apertium mode such as ``eng-spa``; words it does not know stay as they are."""
    if not text.strip():
        return ""
    out = _run_program(MT, ["apertium", "-u", mode], text, APERTIUM_LIMIT_S)
    return " ".join(re.sub(r"\*(?=\w)", "", out.decode()).split())


def speak(text: str, language: str) -> tuple[bytes, int]:
    """Speech for a text: signed 16-bit mono samples and their rate in Hz; nothing for an empty text."""
    if not text.strip():
        return b"", 0
    wav = _run_program(TTS, ["espeak-ng", "-v", language.lower(), "--stdin", "--stdout"], text, ESPEAK_LIMIT_S)
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ModelNotAvailableError(TTS, f"eSpeak NG gave no speech for language {language}") from error
    mono = samples if samples.ndim == 1 else samples[:, 0]
    return np.ascontiguousarray(mono, dtype="<i2").tobytes(), int(rate_hz)


def _narrowed_pairs(declared: Capability, installed: set[str]) -> set[str]:
    return {pair for pair in installed if not declared.mt or declared.translates(*pair.split(":"))}


def _narrowed_voices(declared: Capability, pairs: set[str]) -> set[str]:
    wanted = set(declared.tts) or {pair.split(":")[1] for pair in pairs} | {ASR_LANGUAGE}
    spoken = espeak_languages()
    return {tag for tag in wanted if tag.lower() in spoken}


def _has_pocketsphinx() -> bool:
    return importlib.util.find_spec("pocketsphinx") is not None


def _listing(command: list[str]) -> list[str]:
    """What a program lists, or nothing where it is missing or broken."""
    if shutil.which(command[0]) is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603  the command is one of the two above
            command, capture_output=True, timeout=LISTING_LIMIT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode(errors="replace").splitlines()


def _run_program(service: str, command: list[str], text: str, limit_s: float) -> bytes:
    """Give a text to a program and return what it answers. Ends the program with all it started at the limit."""
    name = command[0]
    try:
        process = subprocess.Popen(  # noqa: S603  arguments are a mode or a language tag, never the text
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
        )
    except OSError as error:
        raise ModelNotAvailableError(service, f"{name} cannot be started on this node: {error.strerror}") from error
    with process:
        try:
            out, complaint = process.communicate(text.encode(), timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise ModelNotAvailableError(service, f"{name} did not answer within {limit_s:g} s") from error
    if process.returncode != 0:
        reason = " ".join(complaint.decode(errors="replace").split())[:200]
        raise ModelNotAvailableError(service, f"{name} failed with status {process.returncode}: {reason}")
    return out

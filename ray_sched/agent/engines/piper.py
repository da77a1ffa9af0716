"""Piper: one voice per language. Piper itself is licensed under the GPL, so it is an extra of its own."""

import threading
from pathlib import Path
from typing import Any

from ray_sched.agent.engines.weights import package


class Voice:
    """One loaded voice. May be called by several threads; they take turns, as a voice keeps state while it speaks."""

    def __init__(self, path: Path, *, has_gpu: bool) -> None:
        """Load ``path``, an ``.onnx`` file with its ``.onnx.json`` beside it. Raises SchedError MISSING_PART."""
        module = package("piper", "piper-tts", "piper")
        self._voice: Any = module.PiperVoice.load(str(path), use_cuda=has_gpu)
        self._lock = threading.Lock()

    def __call__(self, text: str) -> tuple[bytes, int]:
        """Speech for a text: signed 16-bit mono samples and their rate in Hz; nothing for no text."""
        if not text.strip():
            return b"", 0
        with self._lock:
            speech = b"".join(chunk.audio_int16_bytes for chunk in self._voice.synthesize(text))
        return speech, int(self._voice.config.sample_rate) if speech else 0


def voices(folder: Path) -> dict[str, Path]:
    """The voices of a folder by their language: ``es.onnx``, or as Piper names them, ``es_ES-davefx-medium.onnx``.

    ``es_ES`` serves ``es-ES`` and, unless there is one of its own, ``es``.
    """
    files = [folder] if folder.suffix == ".onnx" else sorted(folder.glob("*.onnx"))
    found: dict[str, Path] = {}
    for file in files:
        tag = file.stem.partition("-")[0].replace("_", "-")
        found.setdefault(tag, file)
    return {tag.partition("-")[0]: path for tag, path in reversed(found.items())} | found

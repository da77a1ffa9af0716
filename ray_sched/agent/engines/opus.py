"""OPUS-MT: one translation model per directed pair, converted for CTranslate2."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray_sched.agent.engines.weights import package
from ray_sched.core.errors import Code, SchedError

_END = "</s>"
_PAIR = re.compile(r"(?:\A|[-_])([a-z]{2,3})[-_]([a-z]{2,3})(?:\Z|[-_.])")


def pair_of(name: str) -> str | None:
    """The pair that a folder or a repository is for, by its name: ``en:es`` of ``en-es`` or ``opus-mt-en-es``."""
    match = _PAIR.search(_FAMILY.sub("", name))
    return ":".join(match.groups()) if match else None


_FAMILY = re.compile(r"\Aopus-mt[-_]|tc-|(big|base|tiny)-")
"""Parts of names that look like a language."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Translator:
    """One loaded model. May be called by several threads."""

    def __init__(self, folder: Path, *, device: str, compute_type: str, cpu_threads: int, workers: int) -> None:
        """Load the model. Raises SchedError MISSING_PART for a package or a file that is not there."""
        pieces = package("sentencepiece", "sentencepiece", "neural")
        module = package("ctranslate2", "ctranslate2", "neural")
        for name in ("model.bin", "source.spm", "target.spm"):
            if not (folder / name).exists():
                raise SchedError(
                    Code.MISSING_PART,
                    f"the mt model {folder} of the neural engine has no {name}; convert it with"
                    " ct2-transformers-converter and copy source.spm and target.spm beside it",
                )
        self._translator: Any = module.Translator(
            str(folder),
            device=device,
            compute_type=compute_type or "default",
            intra_threads=cpu_threads,
            inter_threads=workers,
        )
        self._source: Any = pieces.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self._target: Any = pieces.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        config = folder / "config.json"  # one converter leaves the end mark to the caller, the other adds it
        adds_end = config.exists() and json.loads(config.read_text()).get("add_source_eos", False)
        self._end = [] if adds_end else [_END]

    def __call__(self, text: str) -> str:
        """The translation of a text, sentence by sentence, as these models know it; nothing of nothing."""
        return self.translate([text])[0]

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The same of several texts, all sentences in one batch."""
        split = [[sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()] for text in texts]
        sentences = [sentence for one in split for sentence in one]
        tokens = [[*pieces, *self._end] for pieces in self._source.encode(sentences, out_type=str)]
        translated = iter(self._translator.translate_batch(tokens) if tokens else ())
        return [" ".join(self._text_of(next(translated)) for _ in one) for one in split]

    def _text_of(self, result: Any) -> str:
        return str(self._target.decode([token for token in result.hypotheses[0] if token != _END]))

"""A translation model for CTranslate2 with random weights: it has all the parts of OPUS-MT and translates nonsense."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_SENTENCE = "he was not an ill disposed young man unless to be rather cold hearted is to be ill disposed"
_WIDTH, _INNER, _PIECES = 16, 32, 28


def random_opus(folder: Path) -> Path:
    """Write such a model into a new folder."""
    specs, pieces = _needs("ctranslate2.specs"), _needs("sentencepiece")
    folder.mkdir(parents=True)
    written = io.BytesIO()
    pieces.SentencePieceTrainer.train(
        sentence_iterator=iter([_SENTENCE] * 20), model_writer=written, vocab_size=_PIECES, minloglevel=2
    )
    for side in ("source", "target"):
        (folder / f"{side}.spm").write_bytes(written.getvalue())
    known = pieces.SentencePieceProcessor(model_proto=written.getvalue())
    vocabulary = ["<blank>", *(known.id_to_piece(number) for number in range(known.get_piece_size()))]
    model = specs.TransformerSpec.from_config((1, 1), 2)
    _fill(model, len(vocabulary), np.random.default_rng(1))
    model.register_source_vocabulary(vocabulary)
    model.register_target_vocabulary(vocabulary)
    model.validate()
    model.save(str(folder))
    return folder


def _needs(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return pytest.skip(f"{name} is not installed; run: pip install 'ray-sched[neural]'")


def _fill(model: Any, n_pieces: int, rng: np.random.Generator) -> None:
    embedding = rng.normal(0, 1, (n_pieces, _WIDTH)).astype(np.float32)
    model.encoder.embeddings[0].weight = model.decoder.embeddings.weight = embedding

    def linear(part: Any, n_out: int, n_in: int) -> None:
        part.weight = rng.normal(0, 0.3, (n_out, n_in)).astype(np.float32)
        part.bias = np.zeros(n_out, np.float32)

    def norm(part: Any) -> None:
        part.gamma, part.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)

    def attention(part: Any, *widths: int) -> None:
        norm(part.layer_norm)
        for one, n_out in zip(part.linear, widths, strict=True):
            linear(one, n_out, _WIDTH)

    for half in (model.encoder, model.decoder):
        norm(half.layer_norm)
        for layer in half.layer:
            attention(layer.self_attention, 3 * _WIDTH, _WIDTH)
            if half is model.decoder:
                attention(layer.attention, _WIDTH, 2 * _WIDTH, _WIDTH)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, _INNER, _WIDTH)
            linear(layer.ffn.linear_1, _WIDTH, _INNER)
    linear(model.decoder.projection, n_pieces, _WIDTH)

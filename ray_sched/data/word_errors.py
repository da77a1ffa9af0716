"""How well speech was recognised: the word error rate over many utterances. Computes, never runs anything."""

import unicodedata
from collections.abc import Iterable

import jiwer


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Substituted, deleted and inserted words per word of reference, over all pairs of (reference, hypothesis).

    0.0 is perfect; it may pass 1.0 where words were invented. Case and punctuation do not count. Raises ValueError
    when there is no word of reference to compare with.
    """
    texts = [(normalised(reference), normalised(hypothesis)) for reference, hypothesis in pairs]
    if not any(reference for reference, _ in texts):
        raise ValueError("the word error rate needs at least one reference with a word in it")
    return float(jiwer.wer([reference for reference, _ in texts], [hypothesis for _, hypothesis in texts]))


def normalised(text: str) -> str:
    """Lower-case words with single spaces; apostrophes vanish (``don't`` is ``dont``), other punctuation separates."""
    kept = text.lower().replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return " ".join("".join(" " if unicodedata.category(c).startswith("P") else c for c in kept).split())

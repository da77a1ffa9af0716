"""Partial texts that are worth reading: words are told once two hypotheses in a row agree on them, and stay.

A model that hears a growing buffer changes its mind about the end of it: the last word may be half a word. What two
hypotheses have in common from their beginning is mostly what the last one will say (LocalAgreement-2: Liu, Spanakis and
Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection", 2020).
"""

from collections.abc import Callable


def as_written(word: str) -> str:
    """Two words are equal if they are written alike: for readers who append what they are told to what they have."""
    return word


def as_heard(word: str) -> str:
    """Two words are equal but for capitals and punctuation, which follow from what is still to come."""
    return "".join(letter for letter in word.casefold() if letter.isalnum()) or word


class LocalAgreement:
    """The words of one utterance that are agreed on so far. They are never taken back."""

    def __init__(self, key: Callable[[str], str] = as_written) -> None:
        """``key``: words whose keys are equal are the same word."""
        self._key = key
        self._agreed: list[str] = []
        self._last: list[str] = []

    def add(self, hypothesis: str) -> str:
        """One more hypothesis, of more of the audio than the one before; returns the text that is agreed on now.

        While hypotheses do not begin with what was told, nothing is added to it.
        """
        words = hypothesis.split()
        n_agreed = len(self._agreed)
        n_equal = self._n_equal(self._last, words)
        if n_equal > n_agreed and self._n_equal(self._agreed, words) == n_agreed:
            self._agreed += words[n_agreed:n_equal]
        self._last = words
        return " ".join(self._agreed)

    def _n_equal(self, some: list[str], others: list[str]) -> int:
        """With how many equal words both begin."""
        n_equal = 0
        for one, other in zip(some, others, strict=False):
            if self._key(one) != self._key(other):
                break
            n_equal += 1
        return n_equal

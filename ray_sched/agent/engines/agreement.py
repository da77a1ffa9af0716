"""Partial texts that are worth reading: words are told once two hypotheses in a row agree on them, and stay.

A model that hears a growing buffer changes its mind about the end of it: the last word may be half a word. What two
hypotheses have in common from their beginning is mostly what the last one will say (LocalAgreement-2: Liu, Spanakis and
Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection", 2020).
"""


class LocalAgreement:
    """The words of one utterance that are agreed on so far. They are never taken back."""

    def __init__(self) -> None:
        self._agreed: list[str] = []
        self._last: list[str] = []

    def add(self, hypothesis: str) -> str:
        """One more hypothesis, of more of the audio than the one before; returns the text that is agreed on now."""
        words = hypothesis.split()
        n_equal = 0
        for one, other in zip(self._last, words, strict=False):
            if _key(one) != _key(other):
                break
            n_equal += 1
        if n_equal > len(self._agreed):
            self._agreed += words[len(self._agreed) : n_equal]
        self._last = words
        return " ".join(self._agreed)


def _key(word: str) -> str:
    """A word as two hypotheses have to agree on it: capitals and punctuation follow from what is still to come."""
    return "".join(letter for letter in word.casefold() if letter.isalnum()) or word

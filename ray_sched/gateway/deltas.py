"""Deltas of a text that is still being recognised: what was said once stays said.

A partial text may be put right by the next one, but clients append what they are sent. So a word is sent when two
partial texts in a row agree on it and on all before it (``core.agreement``).
"""

from ray_sched.core.agreement import LocalAgreement


class Deltas:
    """The texts so far go in, what may be appended comes out."""

    def __init__(self) -> None:
        self._agreement = LocalAgreement()
        self._sent = ""

    def add(self, text: str) -> str:
        """A partial text. Returns what is to be appended to what was sent; mostly nothing."""
        return self._send(self._agreement.add(text))

    def end(self, text: str) -> str:
        """The whole text. Returns what is missing of it, if what was sent is its beginning; else nothing."""
        return self._send(text)

    def _send(self, text: str) -> str:
        if not text.startswith(self._sent) or (self._sent and text[len(self._sent) :][:1] not in ("", " ")):
            return ""
        delta, self._sent = text[len(self._sent) :], text
        return delta

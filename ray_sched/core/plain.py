"""Text of strangers, as it may be shown: nothing in it acts on a terminal, on a log, or on how a line is read.

A job's name, a session, a label, an engine's error or a transcript may hold whatever its sender liked: escape sequences
that set a window's title and the clipboard, line ends that make a log say what nobody logged, marks that turn the
direction of what follows. What is shown holds their escapes instead; JSON and messages are left alone.
"""

import re

_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of the text around them
    "\u2028\u2029"  # line and paragraph separators
    "\U000e0000-\U000e007f"  # tags, which nothing shows
    "\ud800-\udfff]"  # half characters: bytes of a file's name that are no text
)
_ACTS_IN_LINES = re.compile(_ACTS.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_LOOK = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    r"""The text in one line: a character that acts is written as ``\x1b``, ``\u202e``; others stay as they are."""
    return text if text.isascii() and text.isprintable() else _ACTS.sub(_escaped, text)


def plain_lines(text: str) -> str:
    """The same for text that may have lines and tabs, such as a traceback."""
    return _ACTS_IN_LINES.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    if character.isascii():
        return _LOOK.get(character) or f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()

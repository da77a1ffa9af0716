"""A transcript with its times as players read it: SubRip (SRT) and WebVTT, a cue at a time.

A cue has one line of text: a player wraps it, and an empty line would end it. What a format takes for its own
mark cannot stand in a text: WebVTT has names for such characters, SRT has none.
"""

import re

VTT_HEAD = "WEBVTT\n\n"
"""What a WebVTT file begins with. SRT has no head."""

_ARROW = "-->"
_LIKE_ARROW = re.compile("-{2,}>")


def srt_cue(number: int, start_s: float, end_s: float, text: str) -> str:
    """A cue of SRT, with its number, from 1, and the empty line that ends it. Empty for an empty text."""
    line = _LIKE_ARROW.sub("->", _one_line(text))
    return line and f"{number}\n{_times(start_s, end_s, ',')}\n{line}\n\n"


def vtt_cue(start_s: float, end_s: float, text: str) -> str:
    """A cue of WebVTT with the empty line that ends it. Empty for an empty text."""
    line = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return line and f"{_times(start_s, end_s, '.')}\n{line}\n\n"


def clock_time(seconds: float, mark: str = ".") -> str:
    """``HH:MM:SS.mmm`` to the nearest millisecond, with more digits for a hundred hours."""
    return _clock_time(_milliseconds(seconds), mark)


def _times(start_s: float, end_s: float, mark: str) -> str:
    """A cue that ends where it begins is shown by no player: it has a millisecond at least."""
    start_ms = _milliseconds(start_s)
    end_ms = max(_milliseconds(end_s), start_ms + 1)
    return f"{_clock_time(start_ms, mark)} {_ARROW} {_clock_time(end_ms, mark)}"


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 0)


def _clock_time(milliseconds: int, mark: str) -> str:
    seconds, ms = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"


def _one_line(text: str) -> str:
    return " ".join(text.split())

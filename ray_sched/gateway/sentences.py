"""A text in pieces that are spoken one after the other: the first is heard while the others are being made."""

import re

# ruff: noqa: RUF001  # the full-width marks are meant
_END = re.compile(r"(?<=[.!?…])[\"'»”’)\]]*\s+|(?<=[。！？])|\n+")
_PAUSE = re.compile(r"(?<=[,;:、，；：])\s*|\s+")
LEAST_LETTERS = 40
"""Shorter sentences go with the next one: a voice needs some words to sound natural."""
MOST_LETTERS = 400


def pieces(text: str) -> list[str]:
    """The sentences of a text, short ones together, long ones cut where one breathes. Nothing for no text."""
    found: list[str] = []
    for sentence in _split(_END, text):
        for part in _bounded(sentence):
            if found and len(found[-1]) < LEAST_LETTERS and len(found[-1]) + len(part) < MOST_LETTERS:
                found[-1] = f"{found[-1]} {part}"
            else:
                found.append(part)
    return found


def _bounded(sentence: str) -> list[str]:
    if len(sentence) <= MOST_LETTERS:
        return [sentence]
    head = sentence[:MOST_LETTERS]
    breaks = [match.end() for match in _PAUSE.finditer(head) if match.end() > LEAST_LETTERS]
    at = breaks[-1] if breaks else MOST_LETTERS
    return [part for part in (sentence[:at].strip(), *_bounded(sentence[at:].strip())) if part]


def _split(where: re.Pattern[str], text: str) -> list[str]:
    found, begin = [], 0
    for match in where.finditer(text):
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    found.append(text[begin:].strip())
    return [part for part in found if part]

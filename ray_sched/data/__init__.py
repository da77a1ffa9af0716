"""Speech samples with what is said in them, shipped with the package for the demo, the tests and a first try."""

import csv
from importlib.resources import files
from pathlib import Path

from msgspec import Struct


class Sample(Struct, frozen=True):
    """One recorded utterance: 16 kHz mono WAV."""

    path: Path
    language: str
    transcript: str
    """Lower-case words, no punctuation."""


def samples() -> list[Sample]:
    """The shipped utterances, in the order in which they were spoken."""
    folder = Path(str(files("ray_sched.data") / "speech"))
    with (folder / "transcripts.tsv").open(encoding="utf-8", newline="") as table:
        rows = csv.DictReader(table, delimiter="\t")
        return [Sample(folder / row["file"], row["language"], row["transcript"]) for row in rows]

"""The journal on disk: a JSON value a line, in files of bounded size of which the oldest are removed."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ray_sched.core.views.journal import JournalRow

FILE = "dispatcher.jsonl"


class Journal:
    """Appends to ``dispatcher.jsonl``; full ones become ``dispatcher.jsonl.1``, the newest, and so on. It blocks."""

    def __init__(self, folder: Path, most_bytes: int, n_files: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._n_files = n_files
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: Sequence[JournalRow]) -> None:
        """Append these rows. Raises OSError where the disk does not take them; the next call tries again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / FILE
        with path.open("ab") as file:
            file.write(self._encoder.encode_lines(rows))
            is_full = file.tell() >= self._most_bytes
        if is_full:
            self._rotate(path)

    def _rotate(self, path: Path) -> None:
        for number in range(self._n_files - 1, 1, -1):
            older = self._folder / f"{FILE}.{number - 1}"
            if older.exists():
                older.replace(self._folder / f"{FILE}.{number}")
        path.replace(self._folder / f"{FILE}.1")

"""The journal on disk."""

from pathlib import Path

import pytest

from ray_sched.core.views.journal import JournalRow
from ray_sched.store.journal import FILE, Journal


def a_row(number: int) -> JournalRow:
    return JournalRow(number=number, at_ms=1_000 + number, what="submitted", text="submitted", job_id=f"j{number}")


def test_each_row_is_a_line_and_what_was_written_before_stays(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    Journal(folder, 10_000, 2).write([a_row(1), a_row(2)])
    Journal(folder, 10_000, 2).write([a_row(3)])
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"number":1,"at_ms":1001,"what":"submitted","text":"submitted","job_id":"j1"}'
    assert len(lines) == 3


def test_a_full_file_is_put_aside_and_the_oldest_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 100, 3)
    for number in range(10):
        journal.write([a_row(2 * number), a_row(2 * number + 1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{FILE}.1", f"{FILE}.2"]
    assert '"number":18' in (tmp_path / f"{FILE}.1").read_text(encoding="utf-8")
    assert '"number":16' in (tmp_path / f"{FILE}.2").read_text(encoding="utf-8")
    journal.write([a_row(20)])
    assert '"number":20' in (tmp_path / FILE).read_text(encoding="utf-8")


def test_a_disk_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        Journal(tmp_path / "file", 100, 2).write([a_row(1)])

"""What is set aside: each entry has its reason and is about a line that is still there."""

import re

import pytest

from tests.mutation.__main__ import ROOT, Change, Equivalent, Kind, SetAside, set_aside


def source(where: str) -> str:
    """The module of a module's or function's name, on one line."""
    names = where.split(".")
    paths = (ROOT.joinpath(*names[:n]).with_suffix(".py") for n in range(len(names), 0, -1))
    return " ".join(next(path for path in paths if path.exists()).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("entry", set_aside().change, ids=lambda entry: f"{entry.where}: {entry.after}")
def test_a_change_that_is_set_aside_is_one_of_a_line_that_is_still_there(entry: Equivalent) -> None:
    assert entry.before in source(entry.where)
    assert entry.before != entry.after
    assert entry.why


def test_a_kind_is_every_change_of_a_line_that_is_written_like_this_and_of_no_other() -> None:
    aside = SetAside(change=[], kind=[Kind(before=r"assert_never\(\w+\)", why="never reached")])
    assert aside.has(Change("core.job.f", "assert_never(event)", "assert_never(None)"))
    assert not aside.has(Change("core.job.f", "assert_never(event); x = 1", "assert_never(event); x = 2"))
    assert all(kind.why and not re.fullmatch(kind.before, "return None") for kind in set_aside().kind)

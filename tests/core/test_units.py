"""Durations and counts as people read them."""

import pytest

from ray_sched.core.units import counted, short_ms, shown_ms


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, ""),
        (0, "0 ms"),
        (340, "340 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (2_738, "2.7 s"),
        (9_999, "9.9 s"),
        (10_000, "10 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (250_000, "4 min 10 s"),
        (3_599_999, "59 min 59 s"),
        (7_500_000, "2 h 5 min"),
        (86_399_999, "23 h 59 min"),
        (262_800_000, "3 d 1 h"),
    ],
)
def test_a_duration_has_at_most_two_units_and_is_never_rounded_up(ms: int | None, shown: str) -> None:
    assert shown_ms(ms) == shown


def test_in_a_column_a_duration_has_no_spaces() -> None:
    assert [short_ms(ms) for ms in (None, 340, 2_738, 250_000, 7_500_000)] == ["", "340ms", "2.7s", "4m10s", "2h5m"]


def test_one_is_singular_and_everything_else_plural() -> None:
    assert [counted(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert counted(2, "entry", "entries") == "2 entries"

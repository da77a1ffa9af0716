"""The one line that says why no node is the one."""

import pytest

from ray_sched.core.reasons import Reason, reasons_text


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        ({}, ""),
        ({"b": Reason.DRAINING}, "1 x DRAINING (b)"),
        (
            {"c": Reason.DRAINING, "b": Reason.CAPACITY_FULL, "a": Reason.CAPACITY_FULL},
            "2 x CAPACITY_FULL (a, b); 1 x DRAINING (c)",
        ),
        (dict.fromkeys("cab", Reason.NOT_READY), "3 x NOT_READY (a, b, c)"),
        (dict.fromkeys("dcab", Reason.NOT_READY), "4 x NOT_READY (a, b, c, ...)"),
        ({"a": Reason.DRAINING, "b": Reason.CAPACITY_FULL}, "1 x DRAINING (a); 1 x CAPACITY_FULL (b)"),
    ],
)
def test_the_most_frequent_reason_comes_first_with_up_to_three_of_its_nodes(
    reasons: dict[str, Reason], text: str
) -> None:
    assert reasons_text(reasons) == text

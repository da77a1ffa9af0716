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


def test_beside_the_name_of_a_node_stands_which_threshold_it_has_reached() -> None:
    reasons = {"node-a": Reason.RESOURCE_THRESHOLD, "node-b": Reason.CAPACITY_FULL}
    because = {"node-a": "memory at 93 %, limit 85 %", "node-b": "not asked for"}
    assert reasons_text(reasons, because) == (
        "1 x RESOURCE_THRESHOLD (node-a: memory at 93 %, limit 85 %); 1 x CAPACITY_FULL (node-b)"
    )

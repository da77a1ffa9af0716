"""NAME=VALUE on the command line."""

import pytest
import typer

from ray_sched.cli.named_values import named_values, typed_values


def test_a_value_is_a_number_or_true_where_it_reads_like_one_in_json() -> None:
    pairs = ["beam_size=5", "vad=true", "p=0.25", "language=en", "empty=", "sum=a=b", "list=[1]", 'quoted="x"']
    assert typed_values(pairs) == {
        "beam_size": 5, "vad": True, "p": 0.25, "language": "en", "empty": "", "sum": "a=b", "list": "[1]",
        "quoted": '"x"',
    }  # fmt: skip
    assert named_values(["beam_size=5", "beam_size=6"]) == {"beam_size": "6"}
    assert typed_values(None) == {}


@pytest.mark.parametrize("pair", ["beam_size", "=5", ""])
def test_what_has_no_name_is_refused(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not NAME=VALUE"):
        named_values([pair])

"""The table of what is read, in the README, against what is read."""

import io
from pathlib import Path

from ray_sched.audio import Limits, decode
from tests.audio.odd_audio.catalogue import KINDS, good

TEXT = Path(__file__).parents[2].joinpath("ray_sched", "README.md").read_text()
SECTION = TEXT.partition("## Which audio is read")[2].partition("\n## ")[0]


def test_the_table_of_what_is_read_is_what_is_read() -> None:
    heard: dict[str, tuple[list[str], list[str]]] = {}
    for name, kind in KINDS.items():
        report = decode(io.BytesIO(good(name)), name, Limits()).report
        containers, codings = heard.setdefault(kind.row, ([], []))
        containers.extend({f"`{report.container}`"} - set(containers))
        codings.extend({f"`{report.codec}`"} - set(codings))
    expected = [f"| {row} | {', '.join(found)} | {', '.join(codings)} |" for row, (found, codings) in heard.items()]
    assert [line for line in SECTION.splitlines() if line.startswith("| ")][1:] == expected


def test_the_limits_that_are_named_are_those_of_the_code() -> None:
    limits = Limits()
    text = " ".join(SECTION.split())
    for said in (
        f"{limits.max_duration_s:.0f} s",
        f"{limits.max_channels} channels",
        f"{limits.max_rate_hz:,} Hz".replace(",", " "),
        f"{limits.max_values_per_s:,} samples".replace(",", " "),
    ):
        assert said in text, said

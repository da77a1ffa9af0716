"""The README's table is the table of families."""

from pathlib import Path

from ray_sched.observe.families import FAMILIES

README = Path(__file__).parents[2] / "ray_sched/observe/README.md"


def test_the_table_of_the_readme_is_that_of_the_families() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("| `ray_sched_")]
    assert rows == [
        f"| `{family.exported}` | {family.kind} | {family.owner} | {', '.join(family.labels)} | {family.help} |"
        for family in FAMILIES.values()
    ]

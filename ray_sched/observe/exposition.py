"""Samples as a page in Prometheus's text format, for what is scraped without Ray."""

from collections import defaultdict
from collections.abc import Iterable

from ray_sched.observe.families import FAMILIES
from ray_sched.observe.samples import Sample, points

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page(samples: Iterable[Sample]) -> str:
    """All samples, each family together, in the order of the table, with the names that Ray's endpoint gives them."""
    by_family: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_family[sample.family].append(sample)
    lines: list[str] = []
    for family in FAMILIES.values():
        if own := by_family.get(family.name):
            lines += [f"# HELP {family.exported} {family.help}", f"# TYPE {family.exported} {family.kind}"]
            lines += [
                f"{family.exported}{point.suffix}{_labels(point.labels)} {float(point.value)!r}"
                for sample in own
                for point in points(sample)
            ]
    return "\n".join([*lines, ""])


def _labels(labels: dict[str, str]) -> str:
    escaped = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(escaped)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

"""What a brain's counters say at one moment, as samples of the families. The same whoever exports them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ray_sched.core.distribution import Distribution
from ray_sched.observe.families import FAMILIES, Family

_MS_PER_S = 1000


class Sample(NamedTuple):
    """One series of a family."""

    family: str
    labels: tuple[str, ...]
    """Values, in the order of the family's labels."""
    value: float | Distribution
    """Of a counter: since the process began. A distribution: in the family's unit, or in milliseconds of seconds."""


WriteSamples = Callable[[Iterable[Sample]], None]
"""Exports samples. Called again with all of them at every tick: a gauge that is not set for 20 s vanishes from Ray."""


def write_nothing(_samples: Iterable[Sample]) -> None:
    """For a scheduler without metrics."""


def by_label(family: str, values: Mapping[str, float]) -> Iterator[Sample]:
    """The samples of a family with one label."""
    for label, value in values.items():
        yield Sample(family, (label,), value)


class Point(NamedTuple):
    """One value as Prometheus has it."""

    suffix: str
    """``_bucket``, ``_sum`` or ``_count`` of a histogram, else empty."""
    labels: dict[str, str]
    value: float


def points(sample: Sample) -> list[Point]:
    """The values of one sample; of a histogram those of its buckets, each with all below it, their sum and count."""
    family = FAMILIES[sample.family]
    labels = dict(zip(family.labels, sample.labels, strict=True))
    if isinstance(sample.value, Distribution):
        return _points_of_histogram(family, labels, sample.value)
    return [Point("", labels, sample.value)]


def _points_of_histogram(family: Family, labels: dict[str, str], seen: Distribution) -> list[Point]:
    n_so_far = 0
    found = []
    for boundary, n in zip((*family.boundaries, None), seen.counts, strict=True):
        n_so_far += n
        limit = "+Inf" if boundary is None else f"{boundary:g}"
        found.append(Point("_bucket", labels | {"le": limit}, n_so_far))
    in_unit = _MS_PER_S if family.name.endswith("_seconds") else 1
    return [*found, Point("_sum", labels, seen.total / in_unit), Point("_count", labels, n_so_far)]

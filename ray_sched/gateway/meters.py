"""What the gateway counts, for Prometheus: no tenant's name, no text. Names, labels and buckets are the table's."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.samples import Sample as PageSample

from ray_sched.core.distribution import Distribution
from ray_sched.gateway.limits import Limits
from ray_sched.observe.families import FAMILIES, PREFIX, RAYS_PREFIX, Family, Kind
from ray_sched.observe.samples import Sample


class Meters:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("gateway_requests")
        seconds = FAMILIES["gateway_request_seconds"]
        self._seconds = Histogram(*_named(seconds), buckets=seconds.boundaries, registry=self.registry)
        self.audio = self._counter("gateway_audio_seconds")
        self.open_requests = self._gauge("gateway_requests_open")
        self.held_bytes = self._gauge("gateway_held_bytes")
        self.sessions = self._gauge("gateway_sessions_open")

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route``: as it is declared, so that paths of jobs make no labels."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def look(self, limits: Limits) -> None:
        """Note what is in hand now."""
        self.open_requests.set(limits.n_requests)
        self.held_bytes.set(limits.held_bytes)
        self.sessions.set(limits.n_sessions)

    def page(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def samples(self) -> list[Sample]:
        """The same for whoever exports it elsewhere."""
        found: list[Sample] = []
        for metric in self.registry.collect():
            family = FAMILIES[metric.name.removeprefix(f"{RAYS_PREFIX}{PREFIX}")]
            own = [one for one in metric.samples if not one.name.endswith("_created")]
            if family.kind is Kind.HISTOGRAM:
                found += _of_histogram(family, own)
            else:
                found += [Sample(family.name, _labels(family, one), one.value) for one in own]
        return found

    def _counter(self, family: str) -> Counter:
        return Counter(*_named(FAMILIES[family]), registry=self.registry)

    def _gauge(self, family: str) -> Gauge:
        return Gauge(*_named(FAMILIES[family]), registry=self.registry)


def _named(family: Family) -> tuple[str, str, tuple[str, ...]]:
    return f"{RAYS_PREFIX}{PREFIX}{family.name}", family.help, family.labels


def _labels(family: Family, one: PageSample) -> tuple[str, ...]:
    return tuple(one.labels[label] for label in family.labels)


def _of_histogram(family: Family, page: Iterable[PageSample]) -> list[Sample]:
    """Buckets come in the order of their limits, each with all that is below it."""
    found: dict[tuple[str, ...], Distribution] = {}
    n_below: dict[tuple[str, ...], list[int]] = {}
    for one in page:
        labels = _labels(family, one)
        seen = found.setdefault(labels, Distribution(family.boundaries))
        if one.name.endswith("_bucket"):
            n_below.setdefault(labels, []).append(round(one.value))
        elif one.name.endswith("_sum"):
            seen.total = one.value * 1000
    for labels, counts in n_below.items():
        found[labels].counts = [n - before for n, before in zip(counts, [0, *counts], strict=False)]
    return [Sample(family.name, labels, seen) for labels, seen in found.items()]

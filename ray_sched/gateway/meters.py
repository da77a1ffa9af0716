"""What the gateway counts, for Prometheus: no tenant's name, no text. Names, labels and buckets are the table's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ray_sched.observe.families import FAMILIES, PREFIX, RAYS_PREFIX, Family


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

    def page(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, family: str) -> Counter:
        return Counter(*_named(FAMILIES[family]), registry=self.registry)

    def _gauge(self, family: str) -> Gauge:
        return Gauge(*_named(FAMILIES[family]), registry=self.registry)


def _named(family: Family) -> tuple[str, str, tuple[str, ...]]:
    return f"{RAYS_PREFIX}{PREFIX}{family.name}", family.help, family.labels

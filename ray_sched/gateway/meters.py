"""What the gateway counts, for Prometheus: no tenant's name, no text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Meters:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "ray_sched_gateway_requests", "Requests that were answered.", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "ray_sched_gateway_request_seconds",
            "From a request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.audio = Counter(
            "ray_sched_gateway_audio_seconds", "Audio that was brought, as far as its length was known.",
            registry=self.registry,
        )  # fmt: skip
        self.open_requests = self._gauge("requests_open", "Requests that are being answered.")
        self.held_bytes = self._gauge("held_bytes", "Bytes of the bodies of requests that are being answered.")
        self.sessions = self._gauge("sessions_open", "Sessions that are open.")

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route``: as it is declared, so that paths of jobs make no labels."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"ray_sched_gateway_{name}", what, registry=self.registry)

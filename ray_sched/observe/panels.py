"""What a dashboard is made of: panels with their queries, and what a person should do when one looks bad.

``tests.observe.grafana`` builds Grafana's JSON of those in ``pages``, which ships in ``dashboards``.
"""

from typing import NamedTuple

from ray_sched.observe.queries import quantile


class Query(NamedTuple):
    """One line, or several, of a panel."""

    expr: str
    legend: str
    """With ``{{label}}`` in it."""


class Panel(NamedTuple):
    """One graph."""

    title: str
    unit: str
    """As Grafana names it."""
    advice: str
    """What to do when it looks bad, in a sentence."""
    queries: tuple[Query, ...]


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(NamedTuple):
    """One page."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    has_pools: bool = False
    """A variable chooses among pools."""


def quantiles(family: str) -> tuple[Query, ...]:
    """The middle of what was observed, and its tail."""
    return tuple(Query(quantile(part, family), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99))

"""PromQL of families, written once: rates of counters, the newest of gauges, quantiles of histograms.

A family that is not in the table, or a label that it does not have, is an error where the query is made.
"""

import re

from ray_sched.observe.families import FAMILIES, Family, Kind

FILTER = 'SessionName=~"$SessionName",ray_io_cluster=~"$Cluster"'
"""The variables of every dashboard, as Ray's own have them. In alerts there are no variables, and no filter."""
POOL_FILTER = 'pool=~"$Pool"'
INTERVAL = "$__rate_interval"
"""Grafana's; an alert has one of its own."""


def gauge(family: str, by: str = "", more: str = "") -> str:
    """The newest value by labels: for some seconds a restarted actor's earlier life is there beside it."""
    found = _known(family, Kind.GAUGE, by)
    return f"max{_by(by)} ({found.exported}{_selected(found, more)})"


def per_second(family: str, by: str = "", more: str = "") -> str:
    """A counter's increase per second."""
    found = _known(family, Kind.COUNTER, by)
    return f"sum{_by(by)} (rate({found.exported}{_selected(found, more)}[{INTERVAL}]))"


def ratio(above: str, below: str, by: str = "") -> str:
    """One counter's increase in units of another one's."""
    return f"{per_second(above, by)} / {per_second(below, by)}"


def quantile(part: float, family: str, by: str = "") -> str:
    """A quantile of a histogram; nothing where nothing was observed."""
    found = _known(family, Kind.HISTOGRAM, by)
    labels = f"{by}, le" if by else "le"
    rate = f"rate({found.exported}_bucket{_selected(found, '')}[{INTERVAL}])"
    return f"histogram_quantile({part:g}, sum by ({labels}) ({rate}))"


def mean_size(family: str, by: str = "") -> str:
    """The mean of what a histogram has observed."""
    found = _known(family, Kind.HISTOGRAM, by)
    total, count = (
        f"sum{_by(by)} (rate({found.exported}_{part}{_selected(found, '')}[{INTERVAL}]))" for part in ("sum", "count")
    )
    return f"{total} / {count}"


def rays_own(name: str, more: str) -> str:
    """A gauge of Ray's, of all nodes together."""
    return f"sum ({name}{{{FILTER},{more}}})"


def for_alert(expr: str, interval: str = "5m") -> str:
    """The same query without a dashboard's variables."""
    without = re.sub(r'\w+=~"\$\w+",?', "", expr)
    return without.replace(",}", "}").replace("{}", "").replace(INTERVAL, interval)


def metrics_in(expr: str) -> set[str]:
    """The names of metrics in a query."""
    return set(re.findall(r"\bray_[a-z_]+\b(?=[{\[)\s]|$)", expr)) - {"ray_io_cluster"}


def _known(family: str, kind: Kind, by: str) -> Family:
    found = FAMILIES[family]
    if found.kind is not kind or not set(filter(None, by.split(", "))) <= set(found.labels):
        raise ValueError(f"{family} is a {found.kind} with the labels {found.labels}: no {kind} by {by!r}")
    return found


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def _selected(family: Family, more: str) -> str:
    parts = [FILTER, POOL_FILTER if "pool" in family.labels else "", more]
    return f"{{{','.join(filter(None, parts))}}}"

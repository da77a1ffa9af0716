"""Alert rules, as Prometheus reads them from a file and as KubeRay users apply them: a PrometheusRule."""

from typing import Any, NamedTuple

import yaml

from ray_sched.observe.queries import for_alert, gauge, per_second, quantile

_GROUP = "ray_sched"
RULES_FILE = "ray_sched_alerts.yml"
MANIFEST_FILE = "ray_sched_prometheus_rule.yaml"


class Alert(NamedTuple):
    """One rule."""

    name: str
    value: str
    """What is watched."""
    condition: str
    """When that is bad; ``{}`` stands for the value."""
    lasting: str
    """It has to be so for so long."""
    severity: str
    """``page``: jobs fail or wait now. ``ticket``: they will, or a part does."""
    summary: str
    advice: str

    @property
    def expr(self) -> str:
        """The query of the rule."""
        return self.condition.format(self.value)


_JOBS_PENDING = for_alert(gauge("jobs", more='state="pending"'))
_CLEANED = for_alert(per_second("cleaned_jobs"))
_FREE_SLOTS = gauge("slots", "pool, state", more='state="free"')
_FAILED, _ENDED = per_second("jobs_failed", "code"), per_second("jobs_ended", "state")

ALERTS = tuple(
    alert._replace(value=for_alert(alert.value))
    for alert in (
        Alert(
            "RaySchedDown",
            gauge("up", more='actor="dispatcher"'),
            "absent({})",
            "1m",
            "page",
            "No Dispatcher has written metrics for a minute.",
            "Run ray-sched doctor; if Ray runs, start ray-sched up again, which takes up the jobs that are in Redis.",
        ),
        Alert(
            "RaySchedStoreAway",
            gauge("store_up", "actor"),
            "{} == 0",
            "30s",
            "page",
            "Redis does not answer the {{ $labels.actor }}: new jobs are refused.",
            "Start Redis, or free its machine's disk and memory; jobs go on by themselves when it answers.",
        ),
        Alert(
            "RaySchedNoNodes",
            gauge("nodes", more='state="ready"'),
            "{} == 0",
            "2m",
            "page",
            "No node is ready.",
            "ray-sched nodes says what is wrong with each.",
        ),
        Alert(
            "RaySchedJobsFail",
            f"sum ({_FAILED}) / clamp_min(sum ({_ENDED}), 0.001)",
            "{} > 0.05",
            "5m",
            "page",
            "More than 5 % of the jobs end without a result.",
            "ray-sched jobs --status failed shows which; the graph of failures shows their codes.",
        ),
        Alert(
            "RaySchedNoFreeSlot",
            f"sum ({_FREE_SLOTS})",
            f"({{}} == 0) and on () ({_JOBS_PENDING.replace('{', '{{').replace('}', '}}')} > 0)",
            "5m",
            "ticket",
            "Jobs wait, and no slot has been free for 5 minutes.",
            "Add nodes, or give them more slots; ray-sched explain JOB says which would help.",
        ),
        Alert(
            "RaySchedNodesUnwell",
            gauge("nodes", "state", 'state=~"degraded|suspect|lost"'),
            "{} > 0",
            "5m",
            "ticket",
            "{{ $value }} nodes are {{ $labels.state }}.",
            "ray-sched nodes says why; drain those that do not recover.",
        ),
        Alert(
            "RaySchedPoison",
            per_second("jobs_failed", more='code="POISON_JOB"'),
            "{} > 0",
            "0m",
            "ticket",
            "A job was given up because engines die of it.",
            "Find it with ray-sched jobs --status failed, keep its audio, and report it to whoever makes the engine.",
        ),
        Alert(
            "RaySchedRejects",
            f"sum ({per_second('jobs_rejected', 'code')})",
            "{} > 1",
            "5m",
            "ticket",
            "More than one submit per second is refused.",
            "OVERLOADED: add nodes or let callers send less; other codes name the mistake of the caller.",
        ),
        Alert(
            "RaySchedSlow",
            quantile(0.95, "job_wait_seconds"),
            "{} > 5",
            "5m",
            "ticket",
            "One job in twenty waits longer than 5 s for a node.",
            "Add nodes, or look for drained and degraded ones.",
        ),
        Alert(
            "RaySchedLoopLag",
            gauge("event_loop_lag_seconds", "actor"),
            "{} > 0.5",
            "5m",
            "ticket",
            "The event loop of the {{ $labels.actor }} is late by {{ $value }} s.",
            "Give its machine more CPU, or keep other work off it.",
        ),
        Alert(
            "RaySchedNotForgotten",
            gauge("jobs", more='state="completed"'),
            f"({{}} > 1000) and on () ({_CLEANED} == 0)",
            "15m",
            "ticket",
            "Finished jobs are kept, and clean-up has forgotten none for 15 minutes.",
            "Look for the timer actor in Ray's dashboard; ray-sched cleanup forgets them now.",
        ),
        Alert(
            "RaySchedGaps",
            per_second("gaps"),
            "{} > 0.1",
            "5m",
            "ticket",
            "Sessions miss utterances.",
            "Find the failed jobs of their indices with ray-sched jobs --status failed.",
        ),
    )
)


def rules() -> dict[str, Any]:
    """The group of rules, as Prometheus's rule file and the manifest hold it."""
    return {
        "groups": [
            {
                "name": _GROUP,
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expr,
                        "for": alert.lasting,
                        "labels": {"severity": alert.severity},
                        "annotations": {"summary": alert.summary, "description": alert.advice},
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }


def rule_file() -> str:
    """For ``rule_files`` of Prometheus's configuration."""
    return yaml.safe_dump(rules(), sort_keys=False, width=1_000)


def manifest() -> str:
    """For ``kubectl apply``, where the operator's Prometheus selects rules by ``release: prometheus``."""
    return yaml.safe_dump(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "ray-sched", "labels": {"release": "prometheus"}},
            "spec": rules(),
        },
        sort_keys=False,
        width=1_000,
    )

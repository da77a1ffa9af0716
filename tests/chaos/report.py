"""What a run has shown: as JSON for programs, as a table for people."""

import os
import platform
import statistics
from importlib.metadata import version

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from ray_sched.system.store_stats import StoreStats
from tests.chaos.oracle import Verdict


class Spread(Struct, frozen=True, kw_only=True):
    """Median and maximum, in milliseconds; None without a measurement."""

    p50: int | None
    max: int | None

    @classmethod
    def of(cls, values_ms: list[int]) -> "Spread":
        """The spread of these."""
        return (
            cls(p50=round(statistics.median(values_ms)), max=max(values_ms)) if values_ms else cls(p50=None, max=None)
        )


class Injury(Struct, kw_only=True):
    """One fault that was done."""

    kind: str
    target: str
    at_s: float
    """Since the beginning of the load."""
    detect_ms: int | None = None
    """From the harm until the scheduler showed that it knew."""
    lost_ms: int | None = None
    """From the harm until a frozen or cut-off node was given up, if it was."""
    recover_ms: int | None = None
    """From the harm, or from its end if it lasted, until all was whole and a new job had completed."""
    beside: tuple[str, ...] = ()
    """Other faults that were not over when this one began."""


class FaultRow(Struct, frozen=True, kw_only=True):
    """All faults of one kind."""

    count: int
    detect_ms: Spread
    recover_ms: Spread
    lost_ms: Spread
    detect_alone_ms: Spread
    """Only those that began while no other was under way."""
    unnoticed: int
    """Over before anybody noticed."""
    unrecovered: int

    @classmethod
    def of(cls, injuries: list[Injury]) -> "FaultRow":
        """The row of these, all of one kind."""
        return cls(
            count=len(injuries),
            detect_ms=Spread.of([it.detect_ms for it in injuries if it.detect_ms is not None]),
            recover_ms=Spread.of([it.recover_ms for it in injuries if it.recover_ms is not None]),
            lost_ms=Spread.of([it.lost_ms for it in injuries if it.lost_ms is not None]),
            detect_alone_ms=Spread.of([it.detect_ms for it in injuries if it.detect_ms is not None and not it.beside]),
            unnoticed=sum(it.detect_ms is None for it in injuries),
            unrecovered=sum(it.recover_ms is None for it in injuries),
        )


class Leftovers(Struct, frozen=True, kw_only=True):
    """What was still held when everything had ended. All zero: nothing."""

    waiting: int = 0
    slots: int = 0
    """Acquired by the Dispatcher's count, running by the agents', or not offered although the node is ready."""
    ledger_bytes: int = 0
    """In the ledgers of clients."""
    agent_bytes: int = 0
    """Audio and speech, by the agents' count."""
    store_bytes: int = 0
    """In Ray's object stores, more than at the start, see ``audio_bytes_left``."""


MARKER_BYTES = 8
"""At most in each object that Ray itself leaves where an object could not be fetched, because its owner had died: the
number of the error as text, without data; measured 1 byte each. Nobody owns it, so it stays. The smallest batch has
a header of some hundred bytes."""


def audio_bytes_left(before: StoreStats, now: StoreStats) -> int:
    """Bytes in the object stores that were not there before; 0 if all of it is Ray's markers."""
    n_bytes, n_objects = now.bytes_used - before.bytes_used, now.n_objects - before.n_objects
    return 0 if n_bytes <= MARKER_BYTES * n_objects else max(n_bytes, 0)


class Report(Struct, frozen=True, kw_only=True):
    """One run."""

    seed: int
    seconds: float
    jobs: int
    """Jobs that the scheduler took."""
    completed: int
    jobs_per_s: float
    lost: int
    duplicates: int
    out_of_order: int
    leaked_slots: int
    leaked_bytes: int
    false_alarms: int
    unrecovered: int
    keys_in_redis: int
    """After clean-up: the fixed ones and one for each node."""
    keys_allowed: int
    keys_most: int
    """At any moment of the run."""
    gaps: int
    late: int
    refused: int
    """Submits that were told to come back."""
    failovers: int
    """Times that a job went back to pending."""
    late_messages: int
    failures: dict[str, int]
    """Jobs that did not complete, by code; those that no fault explains are counted as lost."""
    suspects: int
    most_waiting: int
    faults: dict[str, FaultRow]
    injuries: list[Injury]
    findings: list[str]
    """Each thing that is not as it should be, in words."""
    machine: str
    versions: dict[str, str]

    @property
    def is_clean(self) -> bool:
        """Nothing was found."""
        return not self.findings


def findings_of(
    verdict: Verdict, left: Leftovers, alarms: list[str], injuries: list[Injury], keys: tuple[int, int]
) -> list[str]:
    """Everything that is wrong, one sentence each."""
    found = [f"lost: {what}" for what in verdict.lost]
    found += [f"twice: {what}" for what in verdict.duplicates]
    found += [f"out of order: {what}" for what in verdict.out_of_order]
    found += [f"false alarm: {what}" for what in alarms]
    found += [f"left at the end: {name} {n}" for name in left.__struct_fields__ if (n := getattr(left, name))]
    found += [
        f"not whole again: {it.target} after {it.kind} at {it.at_s:.1f} s" for it in injuries if it.recover_ms is None
    ]
    n_keys, n_allowed = keys
    if n_keys > n_allowed:
        found.append(f"{n_keys} keys are left in Redis, {n_allowed} are allowed")
    return found


def machine() -> str:
    """What it ran on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}"


def versions() -> dict[str, str]:
    """What it ran with."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("ray", "redis", "ray-sched")}


def show(report: Report, console: Console) -> None:
    """The table and the sums."""
    table = Table(title=f"seed {report.seed}: {report.seconds:.0f} s, {report.jobs} jobs, {report.jobs_per_s:.1f}/s")
    table.add_column("fault")
    for heading in ("times", "detected p50", "max", "given up p50", "max", "recovered p50", "max"):
        table.add_column(heading, justify="right")
    for kind, row in report.faults.items():
        spreads = (row.detect_ms, row.lost_ms, row.recover_ms)
        table.add_row(kind, str(row.count), *(cell for spread in spreads for cell in _cells(spread)))
    console.print(table)
    console.print(
        f"lost {report.lost}, delivered twice {report.duplicates}, out of order {report.out_of_order},"
        f" slots left {report.leaked_slots}, bytes left {report.leaked_bytes}, false alarms {report.false_alarms},"
        f" not recovered {report.unrecovered}"
    )
    console.print(
        f"failovers {report.failovers}, gaps {report.gaps}, late results {report.late},"
        f" told to come back {report.refused}, most waiting {report.most_waiting},"
        f" keys in Redis {report.keys_in_redis} (most {report.keys_most}), failures {report.failures or 'none'}"
    )
    for finding in report.findings[:50]:
        console.print(finding, style="red", markup=False)


def _cells(spread: Spread) -> tuple[str, str]:
    return tuple("" if ms is None else f"{ms / 1000:.2f} s" for ms in (spread.p50, spread.max))  # type: ignore[return-value]

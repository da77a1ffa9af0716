"""Figures of a run, written out."""

from ray_sched.bench.report import Run


def run_of(jobs_per_s: float) -> Run:
    """A run that did so many jobs a second; the rest of it does not matter."""
    return Run(
        jobs=1,
        jobs_per_s=jobs_per_s,
        p50_ms=1,
        p99_ms=2,
        p999_ms=3,
        cpu_ms_per_job=0.5,
        peak_rss_mb=100,
        object_store_peak_mb=1,
    )

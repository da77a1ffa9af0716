import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from ray_sched.bench.processes import CpuSpent, PeakMemory, cpu_s, family, spent_s

BUSY = "import time, sys\nwhile time.process_time() < 0.32: pass\nprint(); sys.stdin.read()"


@pytest.fixture
def grandchild() -> Iterator[psutil.Process]:
    """The child of a child, as an actor is of its raylet."""
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        [busy] = psutil.Process(child.pid).children()
        yield busy


def test_the_family_are_all_descendants_and_not_the_parent(grandchild: psutil.Process) -> None:
    pids = {process.pid for process in family()}
    assert {psutil.Process().pid, grandchild.pid} <= pids
    assert psutil.Process().ppid() not in pids


def test_what_descendants_spend_counts_also_of_those_that_began_later(request: pytest.FixtureRequest) -> None:
    with CpuSpent() as cpu:
        request.getfixturevalue("grandchild")
    assert cpu.spent_s >= 0.3


def test_a_new_process_has_spent_all_its_time_and_an_ended_one_is_left_out() -> None:
    assert spent_s({1: 2.0, 2: 5.0}, {1: 3.5, 3: 0.25}) == 1.75
    assert cpu_s([psutil.Process()])[psutil.Process().pid] > 0


def test_the_peak_is_seen_even_in_a_short_block() -> None:
    with PeakMemory([psutil.Process()], lambda: 3 * 2**20) as peak:
        pass
    assert peak.rss_mb > 1
    assert peak.store_mb == 3

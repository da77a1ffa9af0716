import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from ray_sched.bench.processes import PeakMemory, Processes, cpu_s, spent_s

CHILDREN = ("raylet", "ray::Ours.run", "ray::Theirs.run")


@pytest.fixture
def by_title() -> Iterator[dict[str, int]]:
    """Three children that sleep, by their titles."""
    with ExitStack() as stack:
        found = {}
        for title in CHILDREN:
            args = [title, "-c", "import sys; sys.stdin.read()"]
            child = subprocess.Popen(args, executable=sys.executable, stdin=subprocess.PIPE)
            stack.enter_context(child)
            stack.callback(child.kill)
            found[title] = child.pid
        yield found


def test_what_others_started_for_themselves_does_not_count(by_title: dict[str, int]) -> None:
    processes = Processes({"ours": ("ray::Ours",), "theirs": ("ray::Theirs",)})
    ours = {process.pid for process in processes.of("ours")}
    theirs = {process.pid for process in processes.of("theirs")}
    shared = {by_title["raylet"], psutil.Process().pid}
    mine = shared | set(by_title.values())  # the process that runs the tests may have children of other tests
    assert ours & mine == shared | {by_title["ray::Ours.run"]}
    assert theirs & mine == shared | {by_title["ray::Theirs.run"]}


def test_contestants_may_share_processes(by_title: dict[str, int]) -> None:
    processes = Processes({"handle": ("ray::Theirs",), "http": ("ray::Theirs",), "ours": ("ray::Ours",)})
    for name in ("handle", "http"):
        pids = {process.pid for process in processes.of(name)}
        assert by_title["ray::Theirs.run"] in pids
        assert by_title["ray::Ours.run"] not in pids


def test_a_new_process_has_spent_all_its_time_and_an_ended_one_is_left_out() -> None:
    assert spent_s({1: 2.0, 2: 5.0}, {1: 3.5, 3: 0.25}) == 1.75
    assert cpu_s([psutil.Process()])[psutil.Process().pid] > 0


def test_the_peak_is_seen_even_in_a_short_block() -> None:
    with PeakMemory([psutil.Process()], lambda: 3 * 2**20) as peak:
        pass
    assert peak.rss_mb > 1
    assert peak.store_mb == 3

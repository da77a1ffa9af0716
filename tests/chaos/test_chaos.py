"""A short run of the harness itself: harm is done, nothing is lost, and it leaves nothing behind when called off."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos.faults import NODE_FAULTS

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(420)]

ALWAYS = "kill-agent,kill-raylet,kill-dispatcher,kill-registry,freeze-agent,kill-engine"
CUT = ",cut" if os.geteuid() == 0 and Path("/usr/sbin/ip").exists() else ""


def chaos(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos", *words]


def test_a_minute_of_harm_loses_nothing() -> None:
    words = ("--seed", "7", "--seconds", "40", "--every", "5", "--rate", "15", "--faults", ALWAYS + CUT, "--json")
    done = subprocess.run(chaos(*words), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["findings"], done.returncode) == ([], 0)
    assert report["jobs"] > 300
    assert sum(row["count"] for row in report["faults"].values()) >= 6
    came = report["faults"].keys() & NODE_FAULTS.keys()
    assert came, "which of them depends on who is whole when it is time for one"
    assert {kind for kind in came if report["faults"][kind]["detect_ms"]["max"] is None} == set()


def test_a_run_that_is_called_off_leaves_nothing_running() -> None:
    mark = secrets.token_hex(8)
    words = ("--seconds", "60", "--every", "2", "--rate", "5", "--faults", "freeze-raylet,freeze-agent,stop-redis")
    with subprocess.Popen(
        chaos(*words), stderr=subprocess.PIPE, text=True, env=os.environ | {"RAY_SCHED_TEST_MARK": mark}
    ) as run:
        assert run.stderr
        for line in run.stderr:
            if "of " in line and "noticed" in line:  # by now the next one is frozen
                break
        run.send_signal(signal.SIGINT)
        assert "called off" in run.stderr.read()
        assert run.wait() == 130
    left = [process for process in psutil.process_iter() if mark in _environment(process)]
    assert [process.cmdline() for process in left] == []


def _environment(process: psutil.Process) -> str:
    try:
        return process.environ().get("RAY_SCHED_TEST_MARK", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""

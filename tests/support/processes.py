"""The real processes of a local cluster, to be killed and frozen. Only descendants of this test process are seen."""

from contextlib import suppress
from pathlib import Path

import psutil


def raylet_of(node: str) -> psutil.Process:
    """The raylet whose labels name this node."""
    for process in psutil.Process().children():
        with suppress(psutil.ZombieProcess):  # one that has died and was not waited for
            if process.name() == "raylet" and any(f'"{node}"' in part for part in process.cmdline()):
                return process
    raise AssertionError(f"no raylet is called {node}")


def actor(kind: str) -> psutil.Process:
    """The process of a control actor: ``Dispatcher``, ``Registry``, ``Timer`` or ``Pool``."""
    for process in psutil.Process().children(recursive=True):
        if process.is_running() and process.name().startswith(f"ray::{kind}Process"):
            return process
    raise AssertionError(f"no actor {kind} runs")


def agent_of(node: str) -> psutil.Process:
    """The process of a node's agent."""
    for process in raylet_of(node).children():
        if process.name().startswith("ray::AgentProcess"):
            return process
    raise AssertionError(f"{node} has no agent")


def redis_server(data_dir: Path) -> psutil.Process:
    """The embedded Redis of the scheduler with this data directory; this process may have others."""
    for process in psutil.Process().children():
        with suppress(psutil.ZombieProcess):
            if process.cwd() == str(data_dir / "redis"):
                return process
    raise AssertionError("no Redis runs")


def engines_of(agent_pid: int) -> list[psutil.Process]:
    """The processes of an agent's engine, one for each slot; none for an engine in threads."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(agent_pid).children():
            with suppress(psutil.NoSuchProcess):
                if any("engine_process" in part for part in process.cmdline()):
                    found.append(process)
    return found

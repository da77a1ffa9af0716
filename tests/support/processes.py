"""The real processes of a local cluster, to be killed and frozen. Only descendants of this test process are seen."""

import psutil


def raylet_of(node: str) -> psutil.Process:
    """The raylet whose labels name this node."""
    for process in psutil.Process().children():
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


def redis_server() -> psutil.Process:
    """The embedded Redis."""
    for process in psutil.Process().children():
        if process.name() == "redis-server":
            return process
    raise AssertionError("no Redis runs")

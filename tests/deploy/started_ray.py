"""A Ray cluster as its users start it: ``ray start`` for a head with a dashboard and for a node, with a Redis."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil

from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.system.local import RAY_ENVIRONMENT

HOST = "127.0.0.1"
STARTS_WITHIN_S = 60
ENDS_WITHIN_S = 20
_MARK = "TEST_CLUSTER"
"""In the environment of every process of the cluster and of whatever they start."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def until(is_so: Callable[[], bool], within_s: float, what: str) -> None:
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at, f"not within {within_s} s: {what}"
        time.sleep(0.1)


class StartedRay:
    """Everything has its own directory, ports and token; nothing of it is left after ``with``."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="ray_sched-"))  # short: Ray's sockets are below it
        self.address = f"{HOST}:{free_port()}"
        self.dashboard = f"http://{HOST}:{free_port()}"
        self.token = secrets.token_hex(32)
        self.redis = EmbeddedRedis()
        self._redis_port = free_port()
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def redis_address(self) -> str:
        return f"{HOST}:{self._redis_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """What ``cluster.yaml`` gives every process; nothing of the test's own Ray settings."""
        token_file = self.dir / "auth_token"
        token_file.write_text(self.token, encoding="utf-8")
        token_file.chmod(0o600)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
        return (
            inherited
            | RAY_ENVIRONMENT
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "XDG_DATA_HOME": str(self.dir / "data"),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(token_file),
                _MARK: str(self.dir),
            }
            | more
        )

    def start(self, labels: dict[str, str]) -> Self:
        """Start Redis, the head, and one node with these labels."""
        self.redis.start(self.dir / "redis", port=self._redis_port)
        port, dashboard_port = self.address.rpartition(":")[2], self.dashboard.rpartition(":")[2]
        head = ["--head", f"--port={port}", f"--dashboard-port={dashboard_port}", "--num-cpus=0"]
        head.append(f"--ray-client-server-port={free_port()}")
        settings = {
            "RAY_REDIS_ADDRESS": self.redis_address,
            "RAY_external_storage_namespace": "ray-sched",
            "RAY_SCHED_STORE__REDIS_URL": f"redis://{self.redis_address}/0",
            "RAY_SCHED_POOLS__CPU_THRESHOLD_PERCENT": "101",
            "RAY_SCHED_POOLS__MEMORY_THRESHOLD_PERCENT": "101",
            "RAY_JOB_STOP_WAIT_TIME_S": "60",
        }
        self._ray_start(head, settings)
        until(lambda: bool(self._alive_nodes()), STARTS_WITHIN_S, "the dashboard knows the head")
        told = ",".join(f"{name}={value}" for name, value in labels.items())
        self._ray_start([f"--address={self.address}", "--num-cpus=1", f"--labels={told}"], {})
        until(lambda: len(self._alive_nodes()) == 2, STARTS_WITHIN_S, "the node has joined")
        return self

    def stop(self) -> None:
        """End everything. Fails the test if a process outlives that, and ends it then, too."""
        for process in reversed(self._started):
            process.terminate()
        try:
            until(lambda: not list(self.processes()), ENDS_WITHIN_S, f"all of {self._started} and theirs have ended")
        finally:
            self.redis.stop()
            for left in self.processes():
                left.kill()
            for process in self._started:
                process.wait()
            shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *command: str, **more: str) -> str:
        """What a command prints. Fails the test if it fails."""
        done = self.attempt(*command, **more)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command as it ended; ``more`` is its environment besides the cluster's."""
        environment = self.environment(**more)
        return subprocess.run(
            command, env=environment, cwd=self.dir, capture_output=True, text=True, timeout=120, check=False
        )

    def processes(self, name: str = "") -> Iterator[psutil.Process]:
        """Every process of this cluster whose command line begins with this."""
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(_MARK) == str(self.dir)
                if (
                    is_ours
                    and process.status() != psutil.STATUS_ZOMBIE
                    and " ".join(process.cmdline()).startswith(name)
                ):
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def get(self, path: str) -> Any:
        """What the dashboard's HTTP interface answers, as JSON."""
        request = urllib.request.Request(f"{self.dashboard}{path}", headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # our own http address
            return json.load(answer)

    def named_actors(self) -> set[str]:
        """Names of the actors that live, without those of Ray's own."""
        rows = self.get("/api/v0/actors?limit=1000")["data"]["result"]["result"]
        names = {row["name"] for row in rows if row["name"] and row["state"] != "DEAD"}
        return {name for name in names if not name.startswith("_ray_internal")}

    def _ray_start(self, options: list[str], environment: dict[str, str]) -> None:
        # --block ties the node to this process: SIGTERM ends it all, while `ray stop` would end every Ray here.
        command = ["ray", "start", "--block", "--disable-usage-stats", f"--node-ip-address={HOST}", *options]
        # A directory each, as on machines of their own: nodes in one unpack the job's code over each other's.
        command += [f"--temp-dir={self.dir / f'node{len(self._started)}'}", "--object-store-memory=104857600"]
        command += [f"--dashboard-agent-listen-port={free_port()}"]
        with (self.dir / "start.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment(**environment),
                cwd=self.dir,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)

    def _alive_nodes(self) -> list[Any]:
        assert all(process.poll() is None for process in self._started), (self.dir / "start.log").read_text()
        try:
            rows = self.get("/api/v0/nodes")["data"]["result"]["result"]
        except (OSError, urllib.error.URLError):
            return []
        return [row for row in rows if row["state"] == "ALIVE"]

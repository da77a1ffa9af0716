"""Clusters that refuse us, and clusters that are not there. Ray reads its token when it is imported, so each try is a
process of its own.
"""

import secrets
import subprocess
import sys
import time

import pytest

from ray_sched.core.errors import EXIT_STATUS, Code
from tests.deploy.started_ray import HOST, StartedRay, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("started_ray"), pytest.mark.timeout(120)]

NO_TOKEN = {"RAY_AUTH_TOKEN_PATH": "/nowhere/auth_token"}

CONNECT = """
import sys
from ray_sched import Code, SchedError
from ray_sched.system.ray_session import connect_ray
try:
    connect_ray(sys.argv[1], "ray_sched")
except SchedError as error:
    print(error.code, error.message, sep="\\n")
else:
    print("connected")
"""


def connect(ray: StartedRay, address: str, **environment: str) -> list[str]:
    """What becomes of a connection: "connected", or the error's code and its sentence."""
    return ray.run(sys.executable, "-c", CONNECT, address, **environment).splitlines()


def ray_sched(ray: StartedRay, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return ray.attempt(sys.executable, "-m", "ray_sched", *words, **environment)


def test_the_right_token_connects(started_ray: StartedRay) -> None:
    assert connect(started_ray, started_ray.address) == ["connected"]


def test_a_wrong_token_is_refused_and_the_sentence_says_what_to_set(started_ray: StartedRay) -> None:
    code, sentence = connect(started_ray, started_ray.address, RAY_AUTH_TOKEN=secrets.token_hex(32))
    assert code == "UNAUTHENTICATED"
    assert sentence.startswith(f"the cluster at {started_ray.address} refused the token; set RAY_AUTH_MODE=token and")


def test_without_authentication_a_cluster_that_wants_it_refuses(started_ray: StartedRay) -> None:
    [code, _] = connect(started_ray, started_ray.address, RAY_AUTH_MODE="disabled")
    assert code == "UNAUTHENTICATED"


def test_a_token_file_that_is_not_there_is_no_token(started_ray: StartedRay) -> None:
    [code, _] = connect(started_ray, started_ray.address, **NO_TOKEN)
    assert code == "UNAUTHENTICATED"


def test_a_command_with_a_wrong_token_says_so_and_exits_with_its_status(started_ray: StartedRay) -> None:
    token = secrets.token_hex(32)
    done = ray_sched(started_ray, "status", "--address", started_ray.address, RAY_AUTH_TOKEN=token)
    assert "refused the token" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert token not in done.stdout + done.stderr
    assert done.returncode == EXIT_STATUS[Code.UNAUTHENTICATED]


def test_where_nobody_listens_there_is_no_cluster_and_it_is_said_soon(started_ray: StartedRay) -> None:
    address = f"{HOST}:{free_port()}"
    began = time.monotonic()
    [code, sentence] = connect(started_ray, address)
    assert code == "NO_CLUSTER"
    assert sentence == f"there is no Ray cluster at {address}; start one (ray start --head) or correct the address"
    assert time.monotonic() - began < 15


def test_a_server_that_is_not_ray_is_no_cluster(started_ray: StartedRay) -> None:
    began = time.monotonic()
    [code, _] = connect(started_ray, started_ray.redis_address)
    assert code == "NO_CLUSTER"
    assert time.monotonic() - began < 60

"""One real cluster for all tests of this folder that need one."""

from collections.abc import Iterator

import pytest

from tests.deploy.started_ray import StartedRay


@pytest.fixture(scope="package")
def started_ray() -> Iterator[StartedRay]:
    """A head with a dashboard and one echo node, which takes half as long as the audio lasts."""
    cluster = StartedRay()
    try:
        yield cluster.start({
            "ray-sched.io/engine": "echo",
            "ray-sched.io/asr": "en",
            "ray-sched.io/node": "echo",
            "ray-sched.io/slots": "2",
            "ray-sched.io/option.speed": "2",
        })  # fmt: skip
    finally:
        cluster.stop()

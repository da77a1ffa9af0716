"""A cluster of another Ray or another Python: the true cause, with Ray's own words behind it."""

import json
import platform
import sys
from collections.abc import Iterator

import pytest

from ray_sched.core.errors import EXIT_STATUS, Code
from tests.deploy.started_ray import StartedRay

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("started_ray"), pytest.mark.timeout(120)]

WRITE = """
import json, sys
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray._raylet import GcsClient
gcs = GcsClient(address=sys.argv[1])
told = json.loads(gcs.internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER))
print(json.dumps(told))
raw = json.dumps(told | json.loads(sys.argv[2])).encode()
gcs.internal_kv_put(CLUSTER_METADATA_KEY, raw, True, namespace=KV_NAMESPACE_CLUSTER)
"""


class Versions:
    """What the cluster says that it was started with."""

    def __init__(self, ray: StartedRay) -> None:
        self._ray = ray
        self._truth = self.pretend()
        self.ray, self.python = (json.loads(self._truth)[f"{name}_version"] for name in ("ray", "python"))

    def pretend(self, **versions: str) -> str:
        """Have it say something else; what it has said is returned."""
        return self._ray.run(sys.executable, "-c", WRITE, self._ray.address, json.dumps(versions))

    def restore(self) -> None:
        """Have it say the truth again."""
        self._ray.run(sys.executable, "-c", WRITE, self._ray.address, self._truth)


@pytest.fixture
def versions(started_ray: StartedRay) -> Iterator[Versions]:
    made = Versions(started_ray)
    yield made
    made.restore()


@pytest.mark.parametrize(
    ("other", "theirs"),
    [
        ({"ray_version": "2.59.1"}, "Ray 2.59.1 and Python {python}"),
        ({"python_version": "3.13.0"}, "Ray {ray} and Python 3.13.0"),
    ],
)
def test_other_versions_at_the_cluster_are_named_with_rays_own_words(
    started_ray: StartedRay, versions: Versions, other: dict[str, str], theirs: str
) -> None:
    versions.pretend(**other)
    ended = started_ray.attempt(sys.executable, "-m", "ray_sched", "status", "--address", started_ray.address)
    [sentence] = ended.stderr.splitlines()
    cluster = theirs.format(ray=versions.ray, python=versions.python)
    ours = f"Ray {versions.ray} and Python {platform.python_version()}"
    assert sentence.startswith(
        f"ray-sched: the cluster at {started_ray.address} runs on {cluster}, this process on {ours}; use the"
        " cluster's versions here (Ray says: Version mismatch: The cluster was started with: Ray: "
    )
    assert ended.returncode == EXIT_STATUS[Code.INVALID_CONFIGURATION]

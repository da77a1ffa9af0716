"""A real cluster for the tests of this folder, which leave it as they found it."""

from collections.abc import Iterator

import pytest

from ray_sched.core.rules import DispatchRules
from tests.support.cluster import RunningCluster, echo_node


@pytest.fixture(scope="package")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Three raylets: one transcribes English, one translates it into Spanish, one does both; of mixed speed."""
    nodes = [
        echo_node("hears", option_speed="400"),
        echo_node("translates", asr="en", mt="en_es", option_speed="1000"),
        echo_node("both", asr="en.es", mt="en_es.es_en", tts="en.es", option_speed="200"),
    ]
    rules = DispatchRules(max_waiting_jobs=12_000)
    with RunningCluster(nodes, tmp_path_factory.mktemp("data"), dispatch=rules) as cluster:
        yield cluster

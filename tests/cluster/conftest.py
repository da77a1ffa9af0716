"""Real clusters, started once for the tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import RunningCluster, echo_node


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Three raylets: one transcribes English, one translates it into Spanish, one does both; of mixed speed."""
    nodes = [
        echo_node("hears", option_speed="400"),
        echo_node("translates", asr="en", mt="en_es", option_speed="1000"),
        echo_node("both", asr="en.es", mt="en_es.es_en", tts="en.es", option_speed="200"),
    ]
    with RunningCluster(nodes, data_dir(tmp_path_factory)) as cluster:
        yield cluster


def data_dir(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("data")

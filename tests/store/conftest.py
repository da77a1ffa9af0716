from collections.abc import Iterator

import pytest

from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.server_binary import Server, servers
from tests.support.redis import peek, prefix, redis_url, store

__all__ = ["peek", "prefix", "redis_server", "redis_url", "server_binary", "store"]

SERVERS = list(servers())


@pytest.fixture(scope="session", params=SERVERS, ids=lambda server: ".".join(map(str, server.version)))
def server_binary(request: pytest.FixtureRequest) -> Server:
    """Every test of the store runs against every server program on this machine."""
    server = request.param
    assert isinstance(server, Server)
    return server


@pytest.fixture(scope="session")
def redis_server(server_binary: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(server_binary).start(tmp_path_factory.mktemp("redis")) as server:
        yield server

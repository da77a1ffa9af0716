"""Where the dashboard of a local Ray listens."""

import socket

import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import RAYS_DASHBOARD_PORT
from ray_sched.system.local import free_dashboard_port


def test_a_port_of_ones_own_is_refused_where_it_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SchedError, match=r"local\.dashboard_port") as caught:
            free_dashboard_port(taken.getsockname()[1])
    assert caught.value.code is Code.PORT_IN_USE


def test_beside_another_ray_the_dashboard_has_the_next_free_port() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", RAYS_DASHBOARD_PORT))
        except OSError:
            pass  # it is taken by somebody else, which is as good
        else:
            taken.listen()
        assert free_dashboard_port(RAYS_DASHBOARD_PORT) > RAYS_DASHBOARD_PORT

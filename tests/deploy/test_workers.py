"""Which runs of pytest have several workers."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_cmdline_main

SINGLE = ["tests/deploy/test_workers.py"]


def decided(args: list[str], *, has_xdist: bool = True, **options: Any) -> tuple[Any, str]:
    """The number of workers and how tests are dealt out, for these arguments of pytest."""
    option = SimpleNamespace(**({"numprocesses": None, "dist": "no", "loadscopereorder": True} | options))
    plugins = SimpleNamespace(hasplugin=lambda _name: has_xdist)
    config: Any = SimpleNamespace(option=option, args=args, pluginmanager=plugins)
    pytest_cmdline_main(config)
    return option.numprocesses, option.dist


@pytest.mark.parametrize("args", [["tests"], ["tests/core"], ["tests/core", *SINGLE], [*SINGLE, "tests/conftest.py"]])
def test_what_is_more_than_a_file_has_workers_and_keeps_groups_together(args: list[str]) -> None:
    assert decided(args) == ("auto", "loadgroup")


@pytest.mark.parametrize("args", [SINGLE, [f"{SINGLE[0]}::test_one"], [f"{SINGLE[0]}::test_one", f"{SINGLE[0]}::two"]])
def test_a_single_file_has_none(args: list[str]) -> None:
    assert decided(args) == (None, "no")


def test_without_the_plugin_there_is_nothing_to_decide() -> None:
    assert decided(["tests"], has_xdist=False) == (None, "no")


def test_what_the_command_line_says_counts() -> None:
    assert decided(["tests"], numprocesses=0) == (0, "no")
    assert decided(SINGLE, numprocesses=2) == (2, "loadgroup")
    assert decided(["tests"], dist="loadscope") == ("auto", "loadscope")


@pytest.mark.xdist_group("together")
def test_a_worker_knows_the_groups(request: pytest.FixtureRequest) -> None:
    told = getattr(request.config, "workerinput", {"keeps_groups": False})
    assert request.node.nodeid.endswith("@together") is told["keeps_groups"]

"""The placement policy that the settings name, and what is said of a name that is wrong."""

import logging
from pathlib import Path

import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.placement.shipped import POLICIES, RANDOM
from ray_sched.system.policies import find_policy
from tests.support.placement import a_node_state, a_question, place

_MODULE = """
from ray_sched.core.placement.shipped import RANDOM

class Made:
    def place(self, q, candidates, *, is_explained=False):
        return RANDOM.place(q, candidates, is_explained=is_explained)

class Broken:
    def place(self, q, candidates, *, is_explained=False):
        raise ValueError("broken")

A_POLICY = RANDOM
NO_POLICY = 7

def fails():
    raise OSError("no disk")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "policies_of_a_user.py").write_text(_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "policies_of_a_user"


def test_the_shipped_ones_have_names() -> None:
    assert {name: find_policy(name) for name in POLICIES} == dict(POLICIES)


@pytest.mark.parametrize("kind", ["A_POLICY", "Made"])
def test_one_of_a_users_own_decides(module: str, kind: str) -> None:
    nodes = [a_node_state(name) for name in ("a", "b", "c")]
    policy = find_policy(f"{module}:{kind}")
    for number in range(20):
        q = a_question(tie_key=f"j{number}/1")
        assert place(nodes, q, policy).node_state is place(nodes, q, RANDOM).node_state


def test_a_broken_one_is_told_once_a_minute_and_the_default_decides(
    module: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = find_policy(f"{module}:Broken")
    with caplog.at_level(logging.ERROR, "ray_sched.system.policies"):
        for _ in range(100):
            assert place([a_node_state()], a_question(job_id="j1"), policy).node_state is not None
    assert [record.message for record in caplog.records] == [
        "the placement policy raised ValueError: broken; the default one decided for job j1 instead"
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fastest", "there is no policy 'fastest'; did you mean 'fastest_free', and your own is named"),
        ("", "there is no policy ''; the shipped ones are expected_completion, least_in_flight, fastest_free, random,"),
        ("no_such_module:x", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("policies_of_a_user:absent", "cannot be used: module 'policies_of_a_user' has no attribute 'absent'"),
        ("policies_of_a_user:NO_POLICY", "cannot be used: a int has no method place"),
        ("policies_of_a_user:fails", "cannot be imported: OSError: no disk"),
    ],
)
def test_a_wrong_name_is_one_sentence(module: str, name: str, sentence: str) -> None:
    assert module
    with pytest.raises(SchedError) as caught:
        find_policy(name)
    assert caught.value.code is Code.INVALID_CONFIGURATION
    assert sentence in str(caught.value)

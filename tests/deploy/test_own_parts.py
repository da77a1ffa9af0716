"""The documents' examples of an engine and a policy of one's own are run as they stand there."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_sched.agent.engine import Work
from ray_sched.agent.engines import find_engine
from ray_sched.core.capability import Capability
from ray_sched.core.placement.guarded import GuardedPolicy
from ray_sched.system.policies import find_policy
from tests.support.placement import a_node_state, a_question, place

_OPERATIONS = Path(__file__).parents[2] / "ray_sched/system/README.md"
_EXAMPLE = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name of the file to its text; the files can be imported."""
    found = dict(_EXAMPLE.findall(_OPERATIONS.read_text(encoding="utf-8")))
    for name, text in found.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return found


def test_the_engine_of_the_example_runs(examples: dict[str, str]) -> None:
    assert "loudness.py" in examples
    declared = Capability(engine="loudness.LoudnessEngine", asr=("en",))
    engine = find_engine("loudness.LoudnessEngine")(declared, {"full-scale": "32768"})
    work = Work(job_id="j1", attempt=1, src="en", tgt="en", services=("asr",))
    engine.load()
    assert (engine.capability(), engine.admit(work)) == (declared, None)
    wave = (16_384 * np.sqrt(2) * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    assert engine.run(work, wave, print).text == "-6.0 dBFS"
    assert engine.run(work, np.zeros(160, np.int16), print).text == "-180.0 dBFS"


def test_the_policy_of_the_example_places(examples: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "night.py" in examples
    policy = find_policy("night:POLICY")
    assert isinstance(policy, GuardedPolicy)
    nodes = [a_node_state("spot-1"), a_node_state("own-1")]
    night = sys.modules["night"]
    for hour, factor in ((23, 1.5), (12, 1.0)):
        monkeypatch.setattr(night, "datetime", _At(hour))
        placement = place(nodes, a_question(), policy)
        assert placement.scores["spot-1"].parts["prefers_our_own"] == factor
    monkeypatch.setattr(night, "datetime", _At(23))
    names = {place(nodes, a_question(tie_key=f"j{n}/1"), policy).node_state.node for n in range(20)}  # type: ignore[union-attr]  # both are free
    assert names == {"own-1"}


class _At:
    """A clock that stands."""

    def __init__(self, hour: int) -> None:
        self.hour = hour

    def now(self) -> "_At":
        return self

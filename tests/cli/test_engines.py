"""``engines``: what is installed on this machine, without Ray and without a model."""

from pathlib import Path

import pytest

from ray_sched.agent.engines import ENGINES, inventory
from tests.cli.command import ray_sched


def test_every_shipped_engine_is_listed_with_what_it_needs(tmp_path: Path) -> None:
    rows = {row["engine"]: row for row in ray_sched(tmp_path, "engines", "--json").json}
    assert set(rows) == set(ENGINES)
    assert rows["speech"]["needs"] == ""
    assert rows["speech"]["asr"] == ["en"]
    assert "--asr-model" in rows["neural"]["needs"]
    parts = {part["name"]: part for part in rows["speech"]["parts"]}
    assert parts["Moonshine (tiny, English)"]["is_installed"] is True


def test_people_read_what_is_there_and_how_to_get_the_rest(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "engines", COLUMNS="150", PATH="")
    assert ended.status == 0
    assert "speech: recognises en" in ended.out
    assert "apt install espeak-ng" in ended.out
    assert "neural: needs a model" in ended.out


def test_an_engine_of_which_nothing_is_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    rows = {row.engine: row for row in inventory.inventory()}
    assert not rows["neural"].is_usable
    assert not rows["speech"].is_usable
    assert rows["speech"].asr == ()
    assert all(not part.is_installed for part in rows["neural"].parts)

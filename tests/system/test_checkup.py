"""What doctor finds on a machine, and what it says to do."""

from pathlib import Path

import pytest

from ray_sched.core.views.health import Check
from ray_sched.settings import LocalRules, Settings, StoreRules, default_settings
from ray_sched.system.checkup import check_authentication, check_machine


def checks(settings: Settings) -> dict[str, Check]:
    return {check.what: check for check in check_machine(settings)}


def test_a_machine_that_has_room_is_well(tmp_path: Path) -> None:
    found = checks(default_settings(data_dir=tmp_path / "not made yet", local=LocalRules(nodes=1, object_store_mb=80)))
    assert found["the data directory"].is_ok
    assert found["versions here"].found.startswith("Python 3.")
    assert not (tmp_path / "not made yet").exists()


def test_what_is_too_little_is_told_with_what_to_do(tmp_path: Path) -> None:
    found = checks(default_settings(data_dir=tmp_path, local=LocalRules(nodes=64, object_store_mb=1_000_000)))
    assert not found["shared memory"].is_ok
    assert "local.object_store_mb" in found["shared memory"].advice
    assert not found["free memory"].is_ok


def test_a_store_elsewhere_needs_no_server_program_here(tmp_path: Path) -> None:
    elsewhere = default_settings(data_dir=tmp_path, store=StoreRules(redis_url="redis://there:6379"))
    assert "the embedded server" not in checks(elsewhere)
    assert "the embedded server" in checks(default_settings(data_dir=tmp_path))


def test_a_token_that_nobody_is_shown_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE" in check_authentication().advice
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert check_authentication().is_ok

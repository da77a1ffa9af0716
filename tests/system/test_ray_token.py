"""Which token a Ray of ``up`` has."""

from pathlib import Path

import pytest

from ray_sched.system.ray_token import rays_own_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def test_it_is_made_once_and_kept_where_ray_reads_it(home: Path) -> None:
    token = rays_own_token()
    file = home / ".ray" / "auth_token"
    assert file.read_text() == token
    assert file.stat().st_mode & 0o777 == 0o600
    assert rays_own_token() == token


def test_rays_variables_go_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rays_own_token()
    (home / "named").write_text("of the named file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "named"))
    assert rays_own_token() == "of the named file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the variable")
    assert rays_own_token() == "of the variable"


def test_where_nothing_can_be_kept_this_ray_has_one_nevertheless(home: Path) -> None:
    (home / ".ray").write_text("no folder")
    assert len(rays_own_token()) == 64

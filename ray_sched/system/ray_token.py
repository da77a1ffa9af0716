"""Ray's own token on this machine: what ``ray get-auth-token`` prints, and what Ray's dialog and commands use.

A Ray that ``up`` starts has this token, so that no other one has to be looked for.
"""

import logging
import os
import secrets
from pathlib import Path

from ray_sched.settings import ray_variable

log = logging.getLogger(__name__)

_FILE = Path(".ray") / "auth_token"


def is_token_set() -> bool:
    """Whether Ray's variables name a token."""
    return bool(ray_variable("RAY_AUTH_TOKEN") or ray_variable("RAY_AUTH_TOKEN_PATH"))


def rays_own_token() -> str:
    """The token of Ray's variables, or of its file, which is made if there is none. A new one where that cannot be."""
    if token := ray_variable("RAY_AUTH_TOKEN").strip():
        return token
    named = ray_variable("RAY_AUTH_TOKEN_PATH")
    try:
        path = Path(named) if named else Path.home() / _FILE
        return _read(path) or _make(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
        log.warning("Ray's token is not kept, only this Ray has it: %s", error)
        return secrets.token_hex(32)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _make(path: Path) -> str:
    token = secrets.token_hex(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(token)
    return token

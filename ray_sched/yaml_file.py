"""A YAML file of settings as keys and values, whatever bytes are in it."""

from pathlib import Path
from typing import Any

import yaml

from ray_sched.core.errors import Code, SchedError

MAX_FILE_BYTES = 2**20
"""Of a file of settings, or of profiles."""


def read_yaml(path: Path, what: str = "configuration file") -> dict[str, Any]:
    """Keys and values of this file. Raises SchedError INVALID_CONFIGURATION."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _invalid(f"there is no {what} {path}") from None
    except (OSError, ValueError) as error:
        raise _invalid(f"the {what} {path} cannot be read: {error}") from None
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, path: str) -> dict[str, Any]:
    """Keys and values of a YAML file. Raises SchedError INVALID_CONFIGURATION for anything else."""
    if len(raw) > MAX_FILE_BYTES:
        raise _invalid(f"{path} is longer than {MAX_FILE_BYTES} bytes; this is not a file of settings")
    try:
        told = yaml.safe_load(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _invalid(f"the configuration file {path} cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML's constructors raise all of these for tags and numbers that look right and are not
        raise _invalid(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise _invalid(f"{path} is nested too deeply to be settings") from None
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise _invalid(f"{path} must hold keys and values, such as 'cleanup: {{keep_ms: 120000}}'")
    return told


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)

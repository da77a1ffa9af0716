"""Where a model's weights are: in a folder that an option names, or in Hugging Face's cache under a name.

A name that is in no folder and not in the cache is downloaded by Hugging Face's own library, where that is allowed and
possible; else one sentence says what to do. Label values cannot hold a slash, so ``--`` may stand for it.
"""

import importlib
import logging
import re
from pathlib import Path
from typing import Any

from ray_sched.core.errors import Code, SchedError

log = logging.getLogger(__name__)

MODEL_DIR = "/opt/ray_sched/models"
"""Where folders of models are unless option ``model-dir`` says otherwise."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def package(name: str, wheel: str, extra: str = "") -> Any:
    """A package that only this engine needs. Raises SchedError MISSING_PART with what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        install = f"'ray-sched[{extra}]'" if extra else wheel
        raise SchedError(Code.MISSING_PART, f"the neural engine needs {wheel}; run: pip install {install}") from error


def folder(model: str, model_dir: str) -> Path | None:
    """The folder or file that a model's option means: a path, or a name below ``model_dir``; None if there is none."""
    for path in (Path(model_dir) / model, Path(model).expanduser()):
        if path.exists():
            return path
    return None


def find(service: str, model: str, model_dir: str, repositories: dict[str, str]) -> Path:
    """The folder of a model that is there, or that is downloaded now. ``repositories``: names and where they come from.

    Raises SchedError MISSING_PART with what to do.
    """
    return folder(model, model_dir) or _cached(service, model, model_dir, repositories)


def _cached(service: str, model: str, model_dir: str, repositories: dict[str, str]) -> Path:
    repository = repositories.get(model, model.replace("--", "/"))
    if not _REPOSITORY.fullmatch(repository):
        known = f"; known names are {', '.join(repositories)}" if repositories else ""
        raise SchedError(
            Code.MISSING_PART,
            f"the {service} model {Path(model_dir) / model} of the neural engine is not on this node, and {model} is no"
            f" name of a repository such as Systran/faster-whisper-tiny{known}",
        )
    hub = package("huggingface_hub", "huggingface-hub", "neural")
    try:
        return Path(hub.snapshot_download(repository, local_files_only=True))
    except Exception:  # noqa: BLE001  # the library raises several kinds for what is not in its cache
        log.info("%s is not in Hugging Face's cache; downloading it", repository)
    try:
        return Path(hub.snapshot_download(repository))
    except Exception as error:  # whatever the network, the proxy or the library says
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise SchedError(
            Code.MISSING_PART,
            f"the {service} model {repository} is not in Hugging Face's cache on this node and cannot be downloaded"
            f" ({why}); copy its files into a folder and name that, or fill the cache: hf download {repository}",
        ) from error

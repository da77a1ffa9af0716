"""Which placement policy the settings name."""

import importlib
import logging
import time
from difflib import get_close_matches

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.placement.guarded import GuardedPolicy
from ray_sched.core.placement.policy import PlacementPolicy
from ray_sched.core.placement.shipped import POLICIES

log = logging.getLogger(__name__)

_SAY_EVERY_S = 60.0


def find_policy(name: str) -> PlacementPolicy:
    """The policy of this name: one of POLICIES, or your own as ``package.module:object``, which is guarded.

    The object is a policy, or a class or function without parameters that makes one. Raises :class:`SchedError`
    (INVALID_CONFIGURATION) with what is wrong with the name.
    """
    if policy := POLICIES.get(name):
        return policy
    module_name, colon, object_name = name.partition(":")
    if not (module_name and colon and object_name.isidentifier()):
        near = get_close_matches(name, POLICIES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}" if near else f"the shipped ones are {', '.join(POLICIES)}"
        raise _invalid(f"there is no policy {name!r}; {hint}, and your own is named package.module:object")
    return GuardedPolicy(_imported(name, module_name, object_name), _Reports())


def _imported(name: str, module_name: str, object_name: str) -> PlacementPolicy:
    try:
        found = getattr(importlib.import_module(module_name), object_name)
        if not _is_policy(found) and callable(found):
            found = found()
    except AttributeError as error:
        raise _invalid(f"selection.policy {name!r} cannot be used: {error}") from error
    # its module runs code of somebody else's
    except Exception as error:
        raise _invalid(f"selection.policy {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not _is_policy(found):
        raise _invalid(f"selection.policy {name!r} cannot be used: a {type(found).__name__} has no method place")
    policy: PlacementPolicy = found
    return policy


def _is_policy(found: object) -> bool:
    return not isinstance(found, type) and callable(getattr(found, "place", None))


class _Reports:
    """Logs the first wrong answer of a minute: a broken policy is asked thousands of times a second."""

    def __init__(self) -> None:
        self._say_at_s = 0.0
        self._n_silent = 0

    def __call__(self, sentence: str) -> None:
        now_s = time.monotonic()
        if now_s < self._say_at_s:
            self._n_silent += 1
            return
        log.error("%s%s", sentence, f" (and {self._n_silent} more like it)" if self._n_silent else "")
        self._say_at_s, self._n_silent = now_s + _SAY_EVERY_S, 0


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)

"""Profiles: the engines of one machine, as a file of its own says them.

A file holds profiles by their names, a profile its engines by theirs, and an engine says what labels say of a node that
has only one: ``engine``, ``slots``, ``asr``, ``mt``, ``tts``, ``services``, ``replicas`` and its ``options``, of any
length. Nothing here reads a file.
"""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

import msgspec

from ray_sched.core.capability import MAX_NAME, Name

Profile = dict[str, dict[str, str]]
"""The engines by their names, each as labels without prefix would say it: ``{"whisper": {"engine": "neural"}}``."""

MAX_ENGINES = 32
"""Of one machine: each is a process of its own."""
MAX_OPTIONS = 256
_MAX_LETTERS = 4_096
_KEYS = ("engine", "slots", "asr", "mt", "tts", "services", "replicas", "options")
_LISTS = ("asr", "mt", "tts", "services")


class BadProfileError(ValueError):
    """A profile does not say which engines there are; the sentence names the profile, the engine and the key."""


def read_profile(told: dict[str, Any], name: str, where: str) -> Profile:
    """The profile of this name out of what a file holds; ``where``: the file. Raises BadProfileError."""
    if name not in told:
        near = _near(name, map(str, told))
        known = ", ".join(str(one)[:80] for one in list(told)[:8]) or "none"
        raise BadProfileError(f"{where} has no profile {name!r}; {near or f'there is {known}'}")
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise BadProfileError(f"{where}: {str(name)[:80]!r} is no name for a profile, such as whisper") from None
    engines = told[name]
    if not isinstance(engines, dict) or not engines:
        example = f"'{name}: {{recogniser: {{engine: neural}}}}'"
        raise BadProfileError(f"{where}: profile {name} must hold engines by their names, such as {example}")
    if len(engines) > MAX_ENGINES:
        raise BadProfileError(f"{where}: profile {name} has {len(engines)} engines; {MAX_ENGINES} are the most")
    return {
        _engine_name(it, name, where): _as_labels(said, f"{where}: profile {name}, {it}")
        for it, said in engines.items()
    }


def read_profiles(told: dict[str, Any], where: str) -> dict[str, Profile]:
    """All profiles of a file. Raises BadProfileError."""
    return {name: read_profile(told, name, where) for name in told}


def _engine_name(name: object, profile: str, where: str) -> str:
    """It becomes part of the node's name."""
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise BadProfileError(
            f"{where}: profile {profile}: {str(name)[:80]!r} is no name for an engine, such as recogniser; it has up to"
            f" {MAX_NAME} letters, digits, - and _"
        ) from None


def _as_labels(said: object, where: str) -> dict[str, str]:
    if not isinstance(said, dict):
        raise BadProfileError(f"{where} must hold keys and values, such as 'engine: neural', not {reprlib.repr(said)}")
    for key in said:
        if key not in _KEYS:
            hint = _near(str(key), _KEYS) or f"there are {', '.join(_KEYS)}"
            raise BadProfileError(f"{where}: there is no {reprlib.repr(key)}; {hint}")
    if not isinstance(said.get("engine"), str) or not said["engine"]:
        raise BadProfileError(f"{where}: engine is missing; it names one, such as neural, or package.module.Class")
    labels = {key: _one(said[key], f"{where}: {key}") for key in ("engine", "slots") if key in said}
    labels |= {key: _many(said[key], f"{where}: {key}") for key in _LISTS if key in said}
    if "replicas" in said:
        labels["option.replicas"] = _one(said["replicas"], f"{where}: replicas")
    return labels | _options(said.get("options", {}), f"{where}: options")


def _options(said: object, where: str) -> dict[str, str]:
    if not isinstance(said, dict) or len(said) > MAX_OPTIONS:
        raise BadProfileError(f"{where} must be names and values, such as 'asr-model: base', not {reprlib.repr(said)}")
    for name in said:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise BadProfileError(f"{where}: {str(name)[:80]!r} is no name for an option, such as asr-model")
    return {f"option.{name}": _one(value, f"{where}: {name}") for name, value in said.items()}


def _one(said: object, where: str) -> str:
    """YAML makes numbers and truths of some texts; an engine is given texts."""
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, str | int | float) and len(text := str(said)) <= _MAX_LETTERS:
        return text
    raise BadProfileError(f"{where} must be a text or a number, not {reprlib.repr(said)}")


def _many(said: object, where: str) -> str:
    """As a label: dots between them, and ``en_es`` for a pair."""
    parts = [said] if isinstance(said, str) else said
    if not isinstance(parts, list) or not all(isinstance(part, str) and "." not in part for part in parts):
        hint = (
            "; YAML takes no for false, so write 'no' with quotes" if isinstance(parts, list) and False in parts else ""
        )
        raise BadProfileError(f"{where} must be a list such as [en, es], or all, not {reprlib.repr(said)}{hint}")
    return ".".join(part.replace(":", "_") for part in parts)


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:80], list(known)[:100], n=1, cutoff=0.6)
    return f"did you mean {near[0][:80]!r}?" if near else ""

"""Options that are said as ``NAME=VALUE``: for the engine of a job, and for the engines of nodes."""

import json

import typer

Value = str | int | float | bool


def named_values(pairs: list[str] | None, option: str = "--option") -> dict[str, str]:
    """The texts by their names; the last of equal names counts. Raises BadParameter for what has no name."""
    values = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option} {pair!r} is not NAME=VALUE, such as beam_size=5")
        values[name] = value
    return values


def typed_values(pairs: list[str] | None) -> dict[str, Value]:
    """The same, where a value that reads like a number, true or false in JSON is one."""
    return {name: _typed(text) for name, text in named_values(pairs).items()}


def _typed(text: str) -> Value:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text

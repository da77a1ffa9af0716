"""The options of ``up`` and ``demo`` that say which engine runs on this machine's nodes, and with what."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_sched.cli.named_values import named_values

if TYPE_CHECKING:
    from ray_sched.settings import Settings

PANEL = "Engine of the nodes on this machine"
Engine = Annotated[str | None, typer.Option("--engine", help="Its name; else local.engine.", rich_help_panel=PANEL)]
Slots = Annotated[
    int | None,
    typer.Option(
        "--slots", min=1, max=1024, help="Jobs at a time on each; else local.slots_per_node.", rich_help_panel=PANEL
    ),
]
Asr = Annotated[
    str,
    typer.Option("--asr-model", metavar="NAME|PATH", help="Recognises: of neural, Whisper.", rich_help_panel=PANEL),
]
Mt = Annotated[
    str, typer.Option("--mt-model", metavar="NAME|PATH", help="Translates: of neural, OPUS-MT.", rich_help_panel=PANEL)
]
Tts = Annotated[
    str,
    typer.Option("--tts-model", metavar="NAME|PATH", help="Speaks: of neural, Piper voices.", rich_help_panel=PANEL),
]
ComputeType = Annotated[
    str,
    typer.Option("--compute-type", help="Numbers of the models, such as int8 or float16.", rich_help_panel=PANEL),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="Another of its options; may be repeated.", rich_help_panel=PANEL
    ),
]


def with_engine(
    settings: "Settings", engine: str | None, slots: int | None, named: dict[str, str], pairs: list[str] | None
) -> "Settings":
    """The settings with what these options say; ``named``: those that have names of their own, by the engine's name.

    A model without ``--engine`` means the neural one. Paths become absolute: nodes have other working directories.
    """
    options = {name: value for name, value in named.items() if value} | named_values(pairs)
    options = {name: absolute(value) if name.endswith("-model") else value for name, value in options.items()}
    has_model = any(name.endswith("-model") for name in options)
    name = engine or ("neural" if has_model else settings.local.engine)
    local = replace(settings.local, engine=name, slots_per_node=slots or settings.local.slots_per_node)
    engines = settings.engines | {name: settings.engines.get(name, {}) | options} if options else settings.engines
    return settings.model_copy(update={"local": local, "engines": engines})


def absolute(value: str) -> str:
    """What is there becomes an absolute path."""
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() else value

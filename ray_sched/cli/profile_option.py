"""The option of ``up`` and ``demo`` that names a file of profiles, and how many nodes there are with it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_sched.cli.engine_options import PANEL

if TYPE_CHECKING:
    from ray_sched.settings import Settings

Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="FILE[:NAME]",
        help="Several engines for each node: a file of profiles, and which of them.",
        rich_help_panel=PANEL,
    ),
]


def with_profile(
    settings: "Settings", told: str, other_options: Iterable[object] = (), *, is_local: bool
) -> "Settings":
    """The settings with the profiles of a file; ``is_local``: nodes of this machine are to have one of them.

    ``other_options``: of engines, which go before a profile of the settings and contradict one that is told here.
    Raises SchedError INVALID_CONFIGURATION for a file that is none, typer.BadParameter for one that does not say which.
    """
    is_told_otherwise = any(other_options)
    if not told:
        no_profile = replace(settings.local, profile="")
        return settings.model_copy(update={"local": no_profile}) if is_told_otherwise else settings
    if is_told_otherwise:
        raise typer.BadParameter("a profile says which engines there are: leave the other options of engines out")
    from ray_sched.settings import profiles_of

    path, name = (told, "") if Path(told).exists() or ":" not in told else told.rpartition(":")[::2]
    found = profiles_of(Path(path))
    names = ", ".join(found) or "none"
    if name and name not in found:
        raise typer.BadParameter(f"{path} has no profile {name!r}; there is {names}", param_hint="--profile")
    if is_local and not name and len(found) != 1:
        hint = f"say which one the nodes of this machine have, such as --profile {path}:NAME; there is {names}"
        raise typer.BadParameter(hint, param_hint="--profile")
    local = replace(settings.local, profile=name or next(iter(found))) if is_local else settings.local
    return settings.model_copy(update={"local": local, "profiles": settings.profiles | found})


def n_expected(settings: "Settings") -> int:
    """How many nodes the machines that are started here make: one each, or one for each engine of their profile."""
    return settings.local.nodes * len(settings.profiles.get(settings.local.profile, {"": {}}))

"""``ray-sched engines``: what could run on this machine, and what it needs."""

from typing import TYPE_CHECKING

from ray_sched.cli.call import Call
from ray_sched.cli.output import add_row, table

if TYPE_CHECKING:
    from ray_sched.agent.engines.inventory import EngineRow

_MOST_LANGUAGES = 8


async def engines(call: Call) -> None:
    """List the engines, what is installed of them on this machine, and what each can do and needs. Starts nothing."""
    from ray_sched.agent.engines.inventory import inventory

    rows = inventory()
    made = table("engine", "part", "does", "here", "how to get it")
    sentences = []
    for row in rows:
        for part in row.parts:
            here = "yes" if part.is_installed else "no"
            add_row(made, row.engine, part.name, part.does, here, "" if part.is_installed else part.install)
        sentences.append(_sentence(row))
    call.out.show(rows, made, *sentences)


def _sentence(row: "EngineRow") -> str:
    can = [
        f"{verb} {_few(languages)}"
        for verb, languages in (("recognises", row.asr), ("translates", row.mt), ("speaks", row.tts))
        if languages
    ]
    what = ", ".join(can) or ("" if row.is_usable else "can do nothing here")
    return f"{row.engine}: " + "; ".join(filter(None, [what, row.needs and f"needs {row.needs}"]))


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_LANGUAGES
    return " ".join(names[:_MOST_LANGUAGES]) + (f" and {more} more" if more > 0 else "")

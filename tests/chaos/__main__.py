"""``python -m tests.chaos --seed S --seconds N --every SECONDS --faults a,b,c [--json]``: real harm under real load.

Exit code 0: nothing found. 1: the oracle found something. 2: wrong command line. 130: called off.
"""

import argparse
import asyncio
import os
import sys
import time

import msgspec
from rich.console import Console

from ray_sched.cli.signals import Signals
from tests.chaos.faults import KINDS
from tests.chaos.network import NoNamespacesError
from tests.chaos.report import show
from tests.chaos.run import Asked, Run

_WIDTH = 110


def main() -> int:
    """Run, show, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Real harm under real load.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60, help="how long utterances are spoken")
    parser.add_argument("--every", type=float, default=5, help="seconds from one fault to the next")
    parser.add_argument("--faults", default="all", help=f"all, none, or some of: {', '.join(KINDS)}")
    parser.add_argument("--rate", type=float, default=28, help="utterances a second")
    parser.add_argument("--burn", type=int, default=0, help="processes that burn a core each")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    words = parser.parse_args()
    named = {"all": ",".join(KINDS), "none": ""}.get(words.faults, words.faults)
    faults = tuple(filter(None, named.split(",")))
    if unknown := sorted(set(faults) - set(KINDS)):
        parser.error(f"there is no fault {', '.join(unknown)}; there are: {', '.join(KINDS)}")
    asked = Asked(
        seed=words.seed,
        seconds=words.seconds,
        every_s=words.every,
        faults=faults,
        per_s=words.rate,
        burn=words.burn,
    )
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no part of the answer
    console = Console(stderr=True, width=max(Console().width, _WIDTH))
    began_s = time.monotonic()

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - began_s:7.1f} s  {what}", markup=False, highlight=False)

    try:
        report = Signals(lambda: say("called off: ending everything")).run(Run(asked, say).go())
    except NoNamespacesError as error:
        say(str(error))
        return 2
    except asyncio.CancelledError:
        return 130
    if words.json:
        stdout.write(msgspec.json.encode(report) + b"\n")
        stdout.close()
    show(report, console)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

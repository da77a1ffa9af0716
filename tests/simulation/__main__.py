"""``python -m tests.simulation --seeds N [--start S] [--plant fence|lease|ack|...] [--json]``: many worlds."""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.plants import PLANTS, plant
from tests.simulation.world import run_world

_PROCESSES = 2
_CHUNK = 25


class Found:
    """A seed whose world does not end well."""

    def __init__(self, seed: int, what: str, trace: str) -> None:
        self.seed = seed
        self.what = what
        self.trace = trace


def try_seed(seed: int) -> Found | None:
    """Run one world; if it fails, once more with its story."""
    try:
        run_world(seed)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        what = f"{type(error).__name__}: {error}"
        try:
            run_world(seed, is_traced=True)
        except Exception as again:  # noqa: BLE001  # the same one
            return Found(seed, what, "\n".join(getattr(again, "__notes__", [])))
        return Found(seed, what, "it did not happen again")
    return None


def _begin(name: str) -> None:
    os.nice(10)
    if name:
        plant(name)


def try_seeds(seeds: range, name: str = "", processes: int = _PROCESSES) -> Iterator[Found | None]:
    """Run these worlds, in order of their seeds, with a bug planted if it is named."""
    with multiprocessing.get_context("fork").Pool(processes, _begin, (name,)) as pool:
        yield from pool.imap(try_seed, seeds, chunksize=_CHUNK)


def main() -> int:
    """Exit code 1 if a world failed; with a planted bug, if none did."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Whole systems in virtual time.")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--stop-after", type=int, default=3, help="stop after so many failures")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="", help="break a rule on purpose")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    began_s = time.monotonic()
    n_run, found = 0, []
    for failure in try_seeds(range(asked.start, asked.start + asked.seeds), asked.plant):
        n_run += 1
        if failure:
            found.append(failure)
            if not asked.json:
                print(f"seed {failure.seed}: {failure.what}\n{failure.trace}\n", flush=True)  # noqa: T201
            if len(found) >= asked.stop_after:
                break
    took_s = time.monotonic() - began_s
    report = {
        "seeds": n_run,
        "start": asked.start,
        "plant": asked.plant,
        "failures": [{"seed": failure.seed, "what": failure.what} for failure in found],
        "took_s": round(took_s, 1),
        "seeds_per_minute": round(n_run / took_s * 60),
    }
    print(json.dumps(report) if asked.json else report)  # noqa: T201
    return int(bool(found) != bool(asked.plant))


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.hostile --target messages|labels|... --seconds N``: atheris looks for bytes that break a border.

Coverage-guided: our modules are instrumented, what reaches new branches is mutated further. Exit code 0 if nothing was
found; else libFuzzer's, with the input that did it and its traceback.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ray_sched", "yaml"]):
    from tests.hostile.targets import MAX_SEED_BYTES, TARGETS, seeds

_RSS_LIMIT_MB = 1_024
_SLOWEST_S = 5


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description="Bytes from strangers.")
    parser.add_argument("--target", choices=sorted(TARGETS), required=True, help="which border")
    parser.add_argument("--seconds", type=int, default=10, help="for how long")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0: another one each time")
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with, and to add to")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray_sched-hostile-") as home:
        corpus = asked.corpus or Path(home)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(asked.target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        limits = [
            f"-max_total_time={asked.seconds}",
            f"-rss_limit_mb={_RSS_LIMIT_MB}",
            f"-timeout={_SLOWEST_S}",
            f"-seed={asked.seed}",
            f"-artifact_prefix={corpus}/found-",
            f"-max_len={MAX_SEED_BYTES}",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], TARGETS[asked.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()

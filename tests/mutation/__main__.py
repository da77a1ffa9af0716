"""``python -m tests.mutation --package core --count 400 --seed 1``: do the tests notice a random change of the code?

Takes a random sample of the changes that mutmut makes (an operator, a constant, a condition, a call), runs the tests of
the package against each, and lists those that nothing noticed. It works on a copy under a temporary directory. A change
that cannot be noticed, because the program means the same with it, is set aside in ``equivalent.toml``, with a reason.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "core": ("ray_sched/core/*", ["tests/core"]),
    "agent": ("ray_sched/agent/*", ["tests/agent", "tests/core/agent", "tests/hostile/test_engines.py"]),
    "client": ("ray_sched/client/*", ["tests/client", "tests/core/client"]),
    "store": ("ray_sched/store/*", ["tests/store"]),
}
"""By package: what is changed, and the tests that have to notice."""

UNNOTICED = frozenset({0, 5, 33})
"""mutmut's exit codes of tests that passed, and of changes that no test runs."""
_CHUNK = 100
_NAME = re.compile(r"(?P<module>.+)\.x_?(?P<path>.+)__mutmut_\d+")


class Change(msgspec.Struct, frozen=True):
    """A change of one line of code."""

    where: str
    """Module and function, such as ``ray_sched.core.job.Job.record``."""
    before: str
    after: str


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change that means the same."""

    where: str
    before: str
    after: str
    why: str

    @property
    def change(self) -> Change:
        """The change itself."""
        return Change(self.where, self.before, self.after)


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes that mean the same, whatever they make of a line that is written like this."""

    before: str
    """A regular expression for the whole line, as it was."""
    why: str


class SetAside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that ``equivalent.toml`` says."""

    change: list[Equivalent]
    kind: list[Kind]

    def has(self, change: Change) -> bool:
        """Whether this change means the same."""
        return any(change == one.change for one in self.change) or any(
            re.fullmatch(one.before, change.before) for one in self.kind
        )


class Score(msgspec.Struct, frozen=True):
    """What came of a sample."""

    package: str
    seed: int
    noticed: int
    unnoticed: list[Change]
    equivalent: int

    @property
    def percent(self) -> float:
        """Noticed, of those that could be."""
        return 100 * self.noticed / max(self.noticed + len(self.unnoticed), 1)


def set_aside() -> SetAside:
    """What is set aside. Raises msgspec.ValidationError for an entry without a reason."""
    text = (Path(__file__).parent / "equivalent.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), SetAside)


def workplace(package: str, home: Path) -> None:
    """A copy of the project, told what to change and which tests to run."""
    for name in ("ray_sched", "tests"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "cluster.yaml"):
        shutil.copy(ROOT / name, home)
    changed, tests = PACKAGES[package]
    config = {
        "source_paths": ["ray_sched"],
        "only_mutate": [changed],
        "also_copy": ["ray_sched", "README.md", "cluster.yaml"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-x"],
        "pytest_add_cli_args_test_selection": [test for test in tests if (ROOT / test).exists()],
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (home / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]), encoding="utf-8")


def mutmut(home: Path, *words: str) -> str:
    """What mutmut prints."""
    environ = os.environ | {"PYTHONPATH": "", "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis")}
    command = [sys.executable, "-m", "mutmut", *words]
    done = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def exit_codes(home: Path) -> dict[str, int | None]:
    """What the tests said of each change; None of those not tried."""
    codes: dict[str, int | None] = {}
    for meta in home.glob("mutants/**/*.meta"):
        codes |= json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    return codes


def change_of(home: Path, name: str) -> Change:
    """The change that mutmut knows by a number, which the next edit of its function makes another one."""
    matched = _NAME.fullmatch(name)
    where = f"{matched['module']}.{matched['path'].strip('ǁ').replace('ǁ', '.')}" if matched else name
    lines = mutmut(home, "show", name).splitlines()
    before = " ".join(line[1:].strip() for line in lines if re.match(r"-(?!--)", line))
    after = " ".join(line[1:].strip() for line in lines if re.match(r"\+(?!\+\+)", line))
    return Change(where, before, after)


def try_sample(package: str, count: int, seed: int, children: int, home: Path) -> Score:
    """Run the tests against a sample of the changes."""
    workplace(package, home)
    mutmut(home, "run", "--max-children", str(children), "no.such.change")
    names = sorted(exit_codes(home))
    if not names:
        raise SystemExit(f"mutmut found nothing to change in {package}, or its tests fail without any change")
    sample = random.Random(seed).sample(names, min(count, len(names)))  # noqa: S311  # a repeatable sample, no secret
    for at in range(0, len(sample), _CHUNK):
        mutmut(home, "run", "--max-children", str(children), *sample[at : at + _CHUNK])
        print(f"{min(at + _CHUNK, len(sample))} of {len(sample)} changes tried", file=sys.stderr, flush=True)  # noqa: T201
    codes = exit_codes(home)
    unnoticed = [change_of(home, name) for name in sample if codes[name] in UNNOTICED]
    aside = set_aside()
    left = sorted((one for one in unnoticed if not aside.has(one)), key=lambda one: one.where)
    noticed = sum(codes[name] is not None and codes[name] not in UNNOTICED for name in sample)
    return Score(package, seed, noticed, left, len(unnoticed) - len(left))


def main() -> None:
    """Parse, try, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--package", choices=sorted(PACKAGES), default="core")
    parser.add_argument("--count", type=int, default=400, help="how many changes")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--children", type=int, default=2, help="processes at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutation-") as home:
        score = try_sample(asked.package, asked.count, asked.seed, asked.children, Path(home))
    if asked.json:
        print(json.dumps(msgspec.to_builtins(score) | {"percent": round(score.percent, 1)}))  # noqa: T201
        return
    for one in score.unnoticed:
        print(f"{one.where}\n  - {one.before}\n  + {one.after}")  # noqa: T201
    print(  # noqa: T201
        f"{score.noticed} of {score.noticed + len(score.unnoticed)} noticed ({score.percent:.1f} %), "
        f"{score.equivalent} set aside"
    )


if __name__ == "__main__":
    main()

"""What the documents say is so: files, headings, verbs, options, settings, state machines, versions of Python."""

import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.core import TyperGroup

from ray_sched.cli.app import app
from ray_sched.core.delivery.order import DELIVERY_TABLE
from ray_sched.core.errors import EXIT_STATUS, SchedError
from ray_sched.core.job import JOB_TABLE
from ray_sched.core.leases.lease import LEASE_TABLE
from ray_sched.core.ledger import LEDGER_TABLE
from ray_sched.core.node_status import NODE_TABLE
from ray_sched.settings import Settings, checked_settings
from ray_sched.yaml_file import parse_yaml

ROOT = Path(__file__).parents[2]
FRONT = ROOT / "README.md"
OPERATIONS = ROOT / "ray_sched/system/README.md"
CONTRIBUTING = ROOT / ".github/CONTRIBUTING.md"
ARCHITECTURE = ROOT / "ray_sched/README.md"
METRICS = ROOT / "ray_sched/observe/README.md"
GATEWAY = ROOT / "ray_sched/gateway/README.md"
DOCUMENTS = (FRONT, ARCHITECTURE, OPERATIONS, ROOT / "ray_sched/bench/README.md", METRICS, GATEWAY, CONTRIBUTING)

RUN_BY_TESTS = {
    "ray-sched demo": "tests/cli/test_demo.py",
    "ray-sched up": "tests/cli/test_up.py",
    "ray-sched down": "tests/cli/test_up.py",
    "ray-sched submit": "tests/cli/test_up.py",
    "ray-sched talk": "tests/cli/test_split.py",
    "ray-sched audio": "tests/cli/test_audio.py",
    "ray-sched status": "tests/cli/test_up.py",
    "ray-sched story": "tests/cli/test_up.py",
    "ray-sched doctor": "tests/cli/test_up.py",
    "ray-sched nodes": "tests/cli/test_up.py",
    "ray-sched engines": "tests/cli/test_engines.py",
    "ray-sched pools": "tests/cli/test_up.py",
    "ray-sched jobs": "tests/cli/test_up.py",
    "ray-sched top": "tests/cli/test_up.py",
    "ray-sched explain": "tests/cli/test_up.py",
    "ray-sched drain": "tests/cli/test_up.py",
    "ray-sched undrain": "tests/cli/test_up.py",
    "ray-sched cancel": "tests/cli/test_up.py",
    "ray-sched wait": "tests/cli/test_up.py",
    "ray-sched gateway": "tests/cli/test_up.py",
    "ray-sched token": "tests/cli/test_up.py",
    "ray-sched cleanup": "tests/cli/test_up.py",
    "ray-sched dashboards": "tests/observe/test_provision.py",
    "ray-sched bench latency": "tests/bench_command/test_bench_command.py",
    "ray-sched bench throughput": "tests/bench_command/test_bench_command.py",
    "ray-sched bench memory": "tests/bench_command/test_bench_command.py",
    "ray-sched bench scale": "tests/bench_command/test_bench_command.py",
    "ray-sched bench explain": "tests/bench_command/test_bench_command.py",
    "ray-sched bench engine": "tests/bench_command/test_bench_command.py",
    "python -m ray_sched up": "tests/deploy/test_job_submit.py",
    "python -m tests.observe.grafana": "tests/observe/test_dashboards.py",
    "python -m tests.simulation": "tests/simulation/test_simulation.py",
    "python -m tests.chaos": "tests/chaos/test_chaos.py",
    "python -m tests.hostile": "tests/hostile/test_borders.py",
    "python -m tests.benchmarks.overload": "tests/cluster/test_overload.py",
}
"""A command of the documents, and the test file that runs it or what it runs."""

RUN_BY_A_PERSON = {
    "python -m tests.benchmarks.gateway": "minutes of two hundred who speak at once",
    "python -m tests.benchmarks.restart": "five times a minute of waiting, for one number",
    "python -m tests.benchmarks.commit": "a table of times, which a busy machine would spoil",
    "python -m tests.benchmarks.rest": "a table of times, too",
    "python -m pytest": "it is what runs the tests",
    "python -m tests.mutation": "a quarter of an hour of both cores, before a release",
}
"""Commands of the documents that no test runs, each with its reason."""

RENAMED = {
    "selection.company_ms": "selection.colocate_ms",
    "client.patience_ms": "client.retry_for_ms",
}
"""Settings of before, which the changes name: they must be gone."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<!!)\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)")
_OURS = re.compile(r"(?:^|[\s/])(ray-sched|python -m)(?=\s)")


class Place(NamedTuple):
    """Something that a document names."""

    document: Path
    what: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.what}"


def prose(document: Path) -> str:
    """Without fenced blocks, lines of a paragraph joined where a span of code is broken."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def spans(document: Path) -> list[str]:
    return [" ".join(span.split()) for span in _SPAN.findall(prose(document))]


def fenced(document: Path, language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(document.read_text(encoding="utf-8")) if name == language]


def headings(document: Path) -> set[str]:
    """The anchors that GitHub makes."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands() -> Iterator[Place]:
    """Every ``ray-sched ...`` and ``python -m ...``, from its first word on."""
    for document in DOCUMENTS:
        lines = [line for block in fenced(document, "sh") for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *spans(document)]:
            for part in line.split("&&"):
                found = _OURS.search(part)
                if found:
                    yield Place(document, part[found.start(1) :].strip())


def verbs() -> dict[str, set[str]]:
    """Every verb there is, as ``bench latency``, with its options."""
    found: dict[str, set[str]] = {}
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for name, command in root.commands.items():
        inner = command.commands if isinstance(command, TyperGroup) else {"": command}
        found |= {f"{name} {verb}".strip(): options_of(one) for verb, one in inner.items()}
    return found


def options_of(command: Any) -> set[str]:
    return {option for param in command.params for option in param.opts}


def verb_of(command: str) -> str:
    words = [word for word in shlex.split(command)[1:] if not word.startswith("-")]
    return " ".join(words[:2] if words[0] == "bench" else words[:1])


def name_of(command: str) -> str:
    """What of a command stands in the lists above."""
    words = shlex.split(command)
    if words[0] == "ray-sched":
        return f"ray-sched {verb_of(command)}"
    return " ".join(words[:4] if words[2] == "ray_sched" else words[:3])


def known_settings() -> set[str]:
    found = set()
    for name, field in Settings.model_fields.items():
        found.add(name)
        if is_dataclass(field.default):
            found |= {f"{name}.{inner.name}" for inner in fields(field.default)}
    return found


def rows(document: Path, heading: str) -> list[list[str]]:
    """The cells of the first table after these words, without its head."""
    section = prose(document).split(f"\n{heading}")[1]
    lines = section[section.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells[2:] if row[0]]


def checks_job() -> Any:
    return yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))["jobs"]["checks"]


def transitions(heading: str) -> set[tuple[str, str, str]]:
    """Event, from and to of a state machine in the document; a list of results follows the list of its length."""
    found = set()
    for cells in rows(ARCHITECTURE, heading):
        events, before, after = ([part.strip().replace(" ", "_") for part in cell.split(",")] for cell in cells[:3])
        if len(after) == 1:
            after = after * len(events) * len(before)
        pairs = itertools.product(events, before)
        found |= {(event, one, to) for (event, one), to in zip(pairs, after, strict=True) if one}
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_points_at_something(document: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(document)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


def test_the_front_page_is_one() -> None:
    assert FRONT.read_text(encoding="utf-8").count("\n") < 200


def test_the_front_page_names_every_verb_and_no_other() -> None:
    table = re.findall(r"^\| `ray-sched ([^`]+)` \|", FRONT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(verb_of(f"ray-sched {row}") for row in table) == sorted(verbs())


def test_every_command_has_its_verb_and_its_options() -> None:
    known, wrong = verbs(), []
    for place in commands():
        words = shlex.split(place.what)
        if words[0] != "ray-sched":
            continue
        options = known.get(verb_of(place.what), set())
        given = [word.strip("[]") for word in words if word.strip("[").startswith("--")]
        wrong += [f"{place}: {option}" for option in given if option not in options]
        wrong += [] if options else [str(place)]
    assert wrong == []


def test_every_module_that_is_run_knows_its_options() -> None:
    wrong = []
    for place in commands():
        words = shlex.split(place.what)
        if words[0] == "ray-sched" or words[2] in {"pytest", "ray_sched"}:
            continue
        module = ROOT / words[2].replace(".", "/")
        source = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        text = source.read_text(encoding="utf-8") if source.exists() else ""
        wrong += [f"{place} {word}" for word in words[3:] if word.startswith("--") and f'"{word}"' not in text]
        wrong += [] if text else [str(place)]
    assert wrong == []


def test_every_command_is_run_by_a_test_or_by_a_person() -> None:
    unknown = {str(place) for place in commands() if name_of(place.what) not in RUN_BY_TESTS | RUN_BY_A_PERSON}
    assert unknown == set()
    named = {name_of(place.what) for place in commands()}
    assert set(RUN_BY_TESTS) | set(RUN_BY_A_PERSON) <= named, "a command that no document names"


@pytest.mark.parametrize("command", RUN_BY_TESTS)
def test_the_test_that_runs_a_command_names_it(command: str) -> None:
    text = (ROOT / RUN_BY_TESTS[command]).read_text(encoding="utf-8")
    words = command.removeprefix("ray-sched ").removeprefix("python -m ").split()
    assert all(f'"{word}' in text or f"{word} import" in text or f"{word}." in text for word in words)


def test_every_test_that_is_to_be_run_exists() -> None:
    paths = [word for place in commands() for word in shlex.split(place.what) if word.startswith("tests/")]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert paths


def test_every_setting_that_is_named_exists() -> None:
    known = known_settings()
    sections = {name.partition(".")[0] for name in known if "." in name}
    named = [
        Place(document, span.partition(":")[0])
        for document in DOCUMENTS
        for span in spans(document)
        if re.fullmatch(rf"(?:{'|'.join(sections)})\.[a-z_0-9]+(?:: .*)?", span)
    ]
    assert [str(place) for place in named if place.what not in known | set(RENAMED)] == []
    assert len(named) > 20


@pytest.mark.parametrize("before", RENAMED)
def test_a_setting_of_before_is_refused_and_its_new_name_is_known(before: str) -> None:
    section, _, key = before.partition(".")
    with pytest.raises(SchedError, match=f"there is no setting '{before}'"):
        checked_settings({section: {key: 1}}, "the file")
    assert RENAMED[before] in known_settings()


def test_every_variable_that_is_named_is_a_setting() -> None:
    mentioned = {
        variable
        for document in DOCUMENTS
        for variable in re.findall(r"\bRAY_SCHED_[A-Z_]+", document.read_text(encoding="utf-8"))
    }
    assert mentioned - {"RAY_SCHED_CONFIG", "RAY_SCHED_TEST_OUTAGE_S"} == {
        "RAY_SCHED_CLEANUP__KEEP_MS",
        "RAY_SCHED_NODES__PROFILES_FILE",
        "RAY_SCHED_OBSERVE__METRICS",
    }
    assert "cleanup.keep_ms" in known_settings()


@pytest.mark.parametrize("text", [text for document in DOCUMENTS for text in fenced(document, "yaml")])
def test_every_example_of_a_configuration_is_one(text: str) -> None:
    told = parse_yaml(text.encode(), "README")
    if text.startswith("# /etc/ray_sched/profiles.yaml\n"):
        told = {"profiles": told}  # a file of its own holds what the setting does
    checked_settings(told, "README")


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("**Job**", JOB_TABLE),
        ("**Node**", NODE_TABLE),
        ("**Lease**", LEASE_TABLE),
        ("**Utterance index of a session**", DELIVERY_TABLE),
    ],
)
def test_every_state_machine_is_the_one_of_the_code(heading: str, table: dict[str, dict[str, str]]) -> None:
    coded = {(str(event), str(state), str(to)) for state, row in table.items() for event, to in row.items()}
    assert transitions(heading) == coded


def test_the_ways_of_audio_are_those_of_the_ledger() -> None:
    told = {
        (before.strip(), after.strip())
        for cells in rows(ARCHITECTURE, "**Audio**")
        for before in cells[0].split(",")
        for after in cells[1].split(",")
    }
    coded = {(str(state), str(to)) for state, row in LEDGER_TABLE.items() for to in row}
    assert {pair for pair in told if pair[0] != "(opened)"} == coded


def test_every_exit_status_is_listed_with_its_codes() -> None:
    listed = {row[0]: set(_SPAN.findall(row[1])) for row in rows(OPERATIONS, "## Exit status")}
    codes: dict[str, set[str]] = {}
    for code, number in EXIT_STATUS.items():
        codes.setdefault(str(number), set()).add(str(code))
    assert {number: names for number, names in listed.items() if names} == codes
    assert {"0", "1", "2", "70", "130", "143"} <= set(listed)


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"])
    assert bounds is not None
    versions = [f"3.{minor}" for minor in range(int(bounds[1]), int(bounds[2]))]
    in_words = f"Python {', '.join(versions[:-1])} or {versions[-1]}"
    for path in (FRONT, CONTRIBUTING, ROOT / ".ci/run"):
        assert in_words in path.read_text(encoding="utf-8"), path
    classified = [line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: 3" in line]
    assert classified == versions
    assert checks_job()["strategy"]["matrix"]["python"] == versions
    assert f"(3, {bounds[1]}) <= sys.version_info < (3, {bounds[2]})" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_workflow_runs_the_checks() -> None:
    assert [step["run"] for step in checks_job()["steps"] if step.get("name") == "checks"] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111

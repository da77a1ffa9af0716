"""What import-linter cannot see of the packages: who reads the environment, who calls Ray, and how large things are."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ray_sched"
OURS = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = {"ray_sched/core/": 300, "ray_sched/": 400, "tests/": 700}
"""By the beginning of its path; the first that fits counts."""
MAY_SET_THE_ENVIRONMENT = {"system/local.py", "system/ray_session.py", "client/voice_process.py"}
"""They hand Ray the token and the variables of the cluster that they have started or found, and the detector's library
the number of its threads, in a process that has nothing else; they decide by none."""

MAY_CALL_RAY = ("system/", "bench/rivals/")
"""The rivals of a benchmark are what users would write without the scheduler: programs of their own."""

CORE_IMPORTS = {"annotated_types", "msgspec", "ray_sched"}
"""Besides the parts of the standard library that know neither time nor chance nor the world."""
PURE = {"abc", "base64", "bisect", "collections", "copy", "dataclasses", "difflib", "enum", "functools", "hashlib"}
PURE |= {"heapq", "itertools", "json", "math", "operator", "re", "reprlib", "statistics", "string", "typing", "zlib"}


def within(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def spells(path: Path, *names: str) -> list[str]:
    """The places where one of these dotted names stands."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in nodes(path)
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node) in names
    ]


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_only_the_settings_read_the_environment() -> None:
    allowed = {"settings.py", *MAY_SET_THE_ENVIRONMENT}
    paths = [path for path in PACKAGE.rglob("*.py") if within(path) not in allowed]
    assert [place for path in paths for place in spells(path, "os.environ", "os.getenv", "os.environb")] == []


def test_nobody_imports_the_environment_by_another_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        if {name.name for name in node.names} & {"environ", "getenv", "environb"}
    ]
    assert found == []


def test_only_the_system_calls_ray() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if not within(path).startswith(MAY_CALL_RAY)
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "remote"
    ]
    assert found == []


def test_the_core_imports_nothing_that_knows_the_world() -> None:
    found = set()
    for path in (PACKAGE / "core").rglob("*.py"):
        for node in nodes(path):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {f"{within(path)}: {name}" for name in names if name.partition(".")[0] not in CORE_IMPORTS | PURE}
    assert found == set()


def test_a_function_does_one_thing() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.name} has {lines(node)} lines"
        for path in OURS
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines(node) > MAX_FUNCTION_LINES
    ]
    assert found == []


def max_lines(name: str) -> int:
    return next(most for beginning, most in MAX_FILE_LINES.items() if name.startswith(beginning))


def test_a_file_holds_one_idea() -> None:
    sizes = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in OURS}
    assert {name: n for name, n in sizes.items() if n > max_lines(name)} == {}


def test_no_test_module_imports_another() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        if (node.module or "").startswith("tests.") and ".test_" in (node.module or "")
    ]
    assert found == [], "what two of them need is in tests/support"

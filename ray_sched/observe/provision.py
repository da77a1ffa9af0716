"""Dashboards and alert rules as files: for Grafana's provisioning, for Prometheus and for KubeRay."""

from importlib import resources
from pathlib import Path

from ray_sched.core.errors import Code, SchedError
from ray_sched.observe.alerts import MANIFEST_FILE, RULES_FILE, manifest, rule_file


def dashboard_files() -> dict[str, str]:
    """The dashboards that ship: name to JSON."""
    folder = resources.files("ray_sched.observe") / "dashboards"
    found = [file for file in folder.iterdir() if file.name.endswith(".json")]
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(found, key=lambda file: file.name)}


def write_dashboards(folder: Path) -> list[Path]:
    """Write the dashboards, and nothing else, as Grafana's provisioning wants it. Raises SchedError."""
    return _write(folder, dashboard_files())


def write_all(folder: Path) -> list[Path]:
    """Write dashboards and alert rules. Raises SchedError INVALID_CONFIGURATION where that is not possible."""
    return _write(folder, dashboard_files() | {RULES_FILE: rule_file(), MANIFEST_FILE: manifest()})


def _write(folder: Path, files: dict[str, str]) -> list[Path]:
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise SchedError(
            Code.INVALID_CONFIGURATION, f"{folder} cannot be written: {error.strerror}; name another folder"
        ) from None
    return written

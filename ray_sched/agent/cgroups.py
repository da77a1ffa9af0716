"""What a container may use and uses: memory and CPU of this process's control groups, version 2 or 1.

Only files are read. Limits are inherited, so every group from the process's own up to the top that is mounted counts;
in a container that top is often the container itself, whatever path the kernel names.
"""

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MOUNT = PurePosixPath("sys/fs/cgroup")
_NO_LIMIT_BYTES = 2**60
"""Version 1 writes nearly 2**63 where nothing is limited."""


class Memory(NamedTuple):
    """Of one control group, in bytes."""

    used: int
    """Without the pages of files that the kernel takes back first."""
    limit: int

    @property
    def percent(self) -> float:
        """Of the limit, from 0 to 100."""
        return min(100 * self.used / self.limit, 100.0)


class Cpu(NamedTuple):
    """What the control group with the smallest quota has used since it began, and how much it may."""

    used_s: float
    """CPU seconds of all its processes."""
    cores: float
    """The quota, in cores."""


class ControlGroups:
    """The control groups of this process. Every question reads the files anew; what is not there is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root``: where ``proc`` and ``sys`` are."""
        self._root = root

    def memory(self) -> Memory | None:
        """Memory of the group that is nearest to its limit; None if none of them has one. Raises OSError."""
        found = [memory for group in self._groups("memory").values() if (memory := _memory(group))]
        return max(found, key=lambda memory: memory.percent, default=None)

    def cpu(self) -> Cpu | None:
        """CPU of the group with the smallest quota; None if none of them has one. Raises OSError."""
        accounting = self._groups("cpuacct")
        found = []
        for path, group in self._groups("cpu").items():
            cores = _quota(group)
            used_s = _cpu_time_s(accounting[path]) if path in accounting else None
            if cores is not None and used_s is not None:
                found.append(Cpu(used_s, cores))
        return min(found, key=lambda cpu: cpu.cores, default=None)

    def _groups(self, controller: str) -> dict[PurePosixPath, Path]:
        """Path to folder, from the process's own group to the top of the mount, those that are there."""
        top, own = self._place(controller)
        if top is None:
            return {}
        folders = {path: top / path.relative_to("/") for path in (own, *own.parents)}
        return {path: folder for path, folder in folders.items() if folder.is_dir()}

    def _place(self, controller: str) -> tuple[Path | None, PurePosixPath]:
        """Where the controller is mounted, and the process's path in it.

        A controller that version 1 has is not in version 2 as well: a machine may have both.
        """
        unified = None
        for line in _text(self._root / "proc/self/cgroup").splitlines():
            number, names, path = line.split(":", 2)
            if controller in names.split(","):
                return self._mounted(names, controller), PurePosixPath(path)
            if number == "0" and not names:
                unified = PurePosixPath(path)
        top = self._root / _MOUNT
        return (top, unified) if unified and (top / "cgroup.controllers").is_file() else (None, PurePosixPath("/"))

    def _mounted(self, names: str, controller: str) -> Path | None:
        """Version 1's folder, called after the controller or all that are mounted together."""
        folders = (self._root / _MOUNT / controller, self._root / _MOUNT / names)
        return next((folder for folder in folders if folder.is_dir()), None)


def _memory(group: Path) -> Memory | None:
    """Version 2, else version 1."""
    for used_name, limit_name, inactive in (
        ("memory.current", "memory.max", "inactive_file"),
        ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
    ):
        used, limit = _number(group / used_name), _number(group / limit_name)
        if used is not None and limit and limit < _NO_LIMIT_BYTES:
            return Memory(max(used - _fields(group / "memory.stat").get(inactive, 0), 0), limit)
    return None


def _quota(group: Path) -> float | None:
    """In cores; None: the group has none."""
    words = _text(group / "cpu.max").split() or [
        _text(group / "cpu.cfs_quota_us").strip(),
        _text(group / "cpu.cfs_period_us").strip(),
    ]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # noqa: PLR2004  # quota and period
        return int(words[0]) / int(words[1]) or None
    return None


def _cpu_time_s(group: Path) -> float | None:
    microseconds = _fields(group / "cpu.stat").get("usage_usec")
    if microseconds is not None:
        return microseconds / 1e6
    nanoseconds = _number(group / "cpuacct.usage")
    return None if nanoseconds is None else nanoseconds / 1e9


def _fields(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004  # of a pair


def _number(file: Path) -> int | None:
    """None for what is not there or says ``max``."""
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    """Empty for a file that this group or machine does not have."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return file.read_text(encoding="ascii", errors="replace")
    return ""

"""Memory and CPU of control groups, from files as the kernel writes them."""

from pathlib import Path

from ray_sched.agent.cgroups import ControlGroups, Cpu, Memory

MIB = 2**20
BOTH_V1 = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n"


class Machine:
    """Files below a folder of the test's own, as the kernel shows them below /."""

    def __init__(self, root: Path, own_groups: str) -> None:
        self.groups = ControlGroups(root)
        self._root = root
        self._write("proc/self/cgroup", own_groups)

    def has(self, folder: str, **files: str) -> "Machine":
        """``folder`` below /sys/fs/cgroup; in the names of files an underscore stands for the first dot."""
        for name, text in files.items():
            self._write(f"sys/fs/cgroup/{folder}/{name.replace('_', '.', 1)}", text)
        return self

    def _write(self, name: str, text: str) -> None:
        file = self._root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def version_2(root: Path, own_groups: str = "0::/\n") -> Machine:
    return Machine(root, own_groups).has("", cgroup_controllers="cpuset cpu io memory pids\n")


def test_a_container_at_92_percent_of_its_memory_says_so(tmp_path: Path) -> None:
    machine = version_2(tmp_path).has("", memory_current=f"{920 * MIB}\n", memory_max=f"{1000 * MIB}\n")
    memory = machine.groups.memory()
    assert memory == Memory(920 * MIB, 1000 * MIB)
    assert memory.percent == 92.0


def test_so_does_one_of_version_1_whose_path_is_that_of_the_host(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BOTH_V1)
    machine.has("memory", memory_usage_in_bytes=f"{920 * MIB}\n", memory_limit_in_bytes=f"{1000 * MIB}\n")
    assert machine.groups.memory() == Memory(920 * MIB, 1000 * MIB)


def test_pages_of_files_that_nobody_reads_are_free(tmp_path: Path) -> None:
    stat = f"anon {300 * MIB}\ninactive_file {500 * MIB}\nactive_file 0\n"
    new = version_2(tmp_path / "2")
    new.has("", memory_current=f"{900 * MIB}", memory_max=f"{1000 * MIB}", memory_stat=stat)
    assert new.groups.memory() == Memory(400 * MIB, 1000 * MIB)
    old = Machine(tmp_path / "1", BOTH_V1)
    numbers = {"memory_usage_in_bytes": f"{900 * MIB}", "memory_limit_in_bytes": f"{1000 * MIB}"}
    old.has("memory", **numbers, memory_stat=f"inactive_file 7\ntotal_inactive_file {500 * MIB}\n")
    assert old.groups.memory() == Memory(400 * MIB, 1000 * MIB)


def test_of_the_groups_above_the_one_that_is_nearest_to_its_limit_counts(tmp_path: Path) -> None:
    machine = version_2(tmp_path, "0::/kubepods/pod1/main\n")
    machine.has("kubepods/pod1/main", memory_current=f"{100 * MIB}", memory_max="max\n")
    machine.has("kubepods/pod1", memory_current=f"{180 * MIB}", memory_max=f"{200 * MIB}")
    machine.has("kubepods", memory_current=f"{300 * MIB}", memory_max=f"{1000 * MIB}")
    assert machine.groups.memory() == Memory(180 * MIB, 200 * MIB)


def test_where_nothing_is_limited_there_is_nothing_to_say(tmp_path: Path) -> None:
    v2 = version_2(tmp_path / "2", "0::/user.slice\n")
    v2.has("user.slice", memory_current="5\n", memory_max="max\n", cpu_max="max 100000\n", cpu_stat="usage_usec 7\n")
    v1 = Machine(tmp_path / "1", BOTH_V1)
    v1.has("memory", memory_usage_in_bytes="5\n", memory_limit_in_bytes="9223372036854771712\n")
    v1.has("cpu,cpuacct", cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n", cpuacct_usage="7\n")
    none = Machine(tmp_path / "0", "")
    for machine in (v2, v1, none):
        assert (machine.groups.memory(), machine.groups.cpu()) == (None, None)
    (tmp_path / "nothing").mkdir()
    assert ControlGroups(tmp_path / "nothing").memory() is None


def test_a_container_of_two_cores_says_what_all_its_processes_have_used(tmp_path: Path) -> None:
    new = version_2(tmp_path / "2").has("", cpu_max="200000 100000\n", cpu_stat="usage_usec 1500000\nuser_usec 1\n")
    assert new.groups.cpu() == Cpu(used_s=1.5, cores=2.0)
    old = Machine(tmp_path / "1", BOTH_V1)
    old.has("cpu,cpuacct", cpu_cfs_quota_us="200000\n", cpu_cfs_period_us="100000\n", cpuacct_usage="1500000000\n")
    assert old.groups.cpu() == Cpu(used_s=1.5, cores=2.0)


def test_version_1_may_have_its_cpu_controllers_in_two_folders(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "3:cpuacct:/a\n2:cpu:/a\n")
    machine.has("cpu/a", cpu_cfs_quota_us="50000\n", cpu_cfs_period_us="100000\n")
    machine.has("cpuacct/a", cpuacct_usage="250000000\n")
    machine.has("cpuacct", cpuacct_usage="999000000000\n")
    assert machine.groups.cpu() == Cpu(used_s=0.25, cores=0.5)

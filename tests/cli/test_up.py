"""``up`` and the verbs that talk to it, on a real Ray with the echo engine."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile

from ray_sched.bench.serve_variables import free_ports
from tests.cli.command import ECHO, SPEECH, Command, Ended, piped, ray_sched, script

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("up")]

AUDIO = SPEECH / "austen-0880.wav"


class Running:
    """An ``up`` on a data directory of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.command = Command(["up", "--nodes", "2"], data_dir, **ECHO)

    def __call__(self, *args: str | Path, **variables: str) -> Ended:
        return ray_sched(self.data_dir, *args, **variables)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``up``, ended by ``down``: which is a test, too."""
    running = Running(tmp_path_factory.mktemp("up"))
    try:
        running.command.wait_for_line("backlog: 0")
        yield running
        down = running("down", "--json")
        assert (down.status, down.json) == (0, {"stopped": True, "unfinished_jobs": 0})
        ended = running.command.end()
        assert ended.status == 0
        assert "\x1b" not in ended.err
        assert running.command.left_behind() == []
    finally:
        running.command.kill()


def test_status_and_nodes_are_one_json_value_each(up: Running) -> None:
    assert up("status", "--json").json["slots"] == 2
    assert [(row["node"], row["status"]) for row in up("--json", "nodes").json] == [
        ("node-1", "ready"),
        ("node-2", "ready"),
    ]


def test_a_healthy_scheduler_is_called_so(up: Running) -> None:
    ended = up("status")
    assert (ended.status, ended.out.split()[-1]) == (0, "healthy")


def test_doctor_looks_at_each_node(up: Running) -> None:
    ended = up("doctor", "--json")
    found = {check["what"]: check for check in ended.json}
    for what in ("node node-1: versions", "node node-1: clock", "node node-2: versions", "the scheduler"):
        assert found[what]["is_ok"], found[what]
    assert ended.status == (0 if all(check["is_ok"] for check in ended.json) else 18)


def test_a_command_that_asks_is_in_no_list_of_jobs(up: Running) -> None:
    listed = script(up.data_dir, _LIST_JOBS)
    assert listed.status == 0, listed.err
    program, up_itself = listed.json
    assert (" -c " in program, up_itself) == (True, "ray-sched up --nodes 2")


_LIST_JOBS = """
import json
from ray_sched.system.api import BlockingClient
with BlockingClient():
    import ray
    jobs = ray._private.worker.global_worker.gcs_client.get_all_job_info().values()
    listed = [job for job in jobs if not job.config.ray_namespace.startswith("_ray_internal_")]
    print(json.dumps(sorted(job.entrypoint for job in listed)))
"""


def test_pools_top_and_cleanup_are_one_json_value_each_too(up: Running) -> None:
    assert [(row["nodes"], row["slots"]) for row in up("pools", "--json").json] == [(["node-1", "node-2"], 2)]
    assert len(up("top", "--json").json["nodes"]) == 2
    assert up("cleanup", "--json").json["jobs"] == 0


def test_one_bad_file_does_not_stop_the_others(up: Running, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio\n")
    ended = up(
        "submit", AUDIO, bad, SPEECH / "austen-0930.wav",
        "--from", "en", "--to", "es", "--speech", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert ended.status == 3
    rows = ended.json
    assert [row["status"] for row in rows] == ["completed", "refused", "completed"]
    assert [row["text"] for row in rows] == ["echo of 47840 samples", "", "echo of 52640 samples"]
    assert rows[0]["speech_file"] == str(tmp_path / "austen-0880.es.wav")
    assert (tmp_path / "austen-0880.es.wav").stat().st_size == 44 + 2 * 47840


def test_audio_may_be_piped_in_and_belong_to_a_tenant(up: Running) -> None:
    (row,) = piped(up.data_dir, AUDIO, "submit", "-", "--from", "en", "--tenant", "zenith", "--json").json
    assert (row["file"], row["text"]) == ("/dev/stdin", "echo of 47840 samples")
    (job,) = up("jobs", "--tenant", "zenith", "--json").json
    assert (job["job_id"], job["name"]) == (row["job_id"], "/dev/stdin")


def test_a_gpu_that_no_node_has_is_a_reason(up: Running) -> None:
    ended = up("submit", AUDIO, "--from", "en", "--needs-gpu", "--json")
    assert ended.status == 7
    assert "2 x GPU_REQUIRED (node-1, node-2)" in ended.json[0]["error"]["message"]


def test_the_same_request_id_gives_the_same_job(up: Running) -> None:
    first, second = (up("submit", AUDIO, "--from", "en", "--request-id", "r1", "--json").json[0] for _ in "12")
    assert first["job_id"] == second["job_id"] != ""
    assert (up.data_dir / "client-secret").stat().st_mode & 0o777 == 0o600
    story = up("explain", first["job_id"]).out
    assert "submitted" in story
    assert "score" in story
    followed = up("story", first["job_id"], "--follow").out
    assert [line.split()[-1] for line in followed.splitlines()][-1] == "completed"
    assert (
        up("story", "--since", "1h", "--node", "node-1", "--limit", "20000", "--json").json[0]["what"] == "node_joined"
    )
    assert up("story", "--since", "soon").status == 2
    assert up("explain", "--all").out.strip() == "no job waits"
    assert "would wait for a node that offers it" in up("explain", "--dry-run", "--from", "de", "--to", "fr").out
    assert up("explain", first["job_id"], "--all").status == 2


def test_a_language_nobody_serves_is_answered_with_reasons(up: Running) -> None:
    ended = up("submit", AUDIO, "--from", "de", "--json")
    assert ended.status == 7
    assert "2 x ASR_LANG_UNSUPPORTED (node-1, node-2)" in ended.json[0]["error"]["message"]


def test_ctrl_c_cancels_what_was_submitted(up: Running) -> None:
    waiting = Command(["submit", AUDIO, "--from", "fr", "--deadline-s", "60"], up.data_dir)
    while not up("jobs", "--status", "pending", "--json").json:
        pass
    waiting.signal(signal.SIGINT)
    ended = waiting.end()
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == "ray-sched: interrupted; the jobs that had not ended were cancelled"
    assert [row["pair"] for row in up("jobs", "--status", "cancelled", "--json").json] == ["fr:fr"]


def test_jobs_are_listed_by_what_is_said_of_them(up: Running) -> None:
    assert up("submit", AUDIO, "--from", "en", "--session", "call-7", "--json").status == 0
    (row,) = up("jobs", "--session", "call-*", "--status", "completed", "--json").json
    assert (row["name"], row["pair"], row["session"]) == (str(AUDIO), "en:en", "call-7")
    assert row["age_ms"] >= row["wait_ms"] + row["run_ms"] + row["ended_ago_ms"] - 1
    assert [job["session"] for job in up("jobs", "--name", AUDIO.name, "--session", "call-7", "--json").json] == [
        "call-7"
    ]
    assert up("jobs", "--node", "nowhere").out == "there are no such jobs\n"
    narrow = up("jobs", "--session", "call-7", COLUMNS="80").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert {"completed", row["node"], row["job_id"]} <= set(narrow.split())
    assert "call-7" in up("jobs", "-o", "wide", "--pair", "en", COLUMNS="80").out


def test_an_operator_cancels_jobs_of_others(up: Running) -> None:
    waiting = Command(["submit", AUDIO, "--from", "fr", "--session", "stuck", "--deadline-s", "60"], up.data_dir)
    while not up("jobs", "--session", "stuck", "--status", "pending", "--json").json:
        pass
    ended = up("cancel", "--session", "stuck", "--json")
    assert (ended.status, len(ended.json["cancelled"])) == (0, 1)
    told = waiting.end()
    assert told.status == 1
    assert "cancelled by an operator" in told.err
    assert up("cancel", "--all-waiting").out == "no such job had not ended; nothing was cancelled\n"
    unknown = up("cancel", ended.json["cancelled"][0], "no-such-job")
    assert unknown.status == 6
    assert "there is no job no-such-job" in unknown.err
    assert up("cancel").status == 2


def test_an_openai_client_is_served_by_a_gateway_beside_it(up: Running) -> None:
    made = up("token", "acme", "--json").json
    door = Command(
        ["gateway", "--listen", "127.0.0.1:0", "--json"],
        up.data_dir,
        RAY_SCHED_GATEWAY__TOKEN_HASHES=json.dumps({"acme": made["token_hash"]}),
    )
    url = door.wait_for_line("listening on ").split()[2]
    with openai.OpenAI(base_url=url, api_key=made["token"], max_retries=0) as client:
        heard = client.audio.transcriptions.create(file=AUDIO, model="whisper-1", response_format="verbose_json")
    assert (heard.text, heard.duration) == ("echo of 47840 samples", 2.99)
    assert [job["tenant"] for job in up("jobs", "--tenant", "acme", "--json").json] == ["acme"]
    door.signal(signal.SIGTERM)
    ended = door.end()
    assert (ended.status, ended.json) == (0, {"stopped": True})
    assert door.left_behind() == []


def test_a_drained_node_is_had_back(up: Running) -> None:
    assert up("wait", "--nodes", "2", "--json").json["slots"] == 2
    assert up("drain", "node-2", "--wait", "--json").json["status"] == "gone"
    alone = up("wait", "--nodes", "2", "--timeout-s", "0.5")
    assert alone.status == 7
    assert alone.err.splitlines()[-1] == "ray-sched: 1 of 2 nodes are ready after 0 s; node-2 is gone"
    assert up("undrain", "node-2").status == 0
    assert up("wait", "--nodes", "2", "--json").json["slots"] == 2
    assert up("undrain", "node-2").status == 6


def test_its_own_address_needs_no_token_from_the_user(up: Running) -> None:
    address = json.loads((up.data_dir / "running.json").read_text())["address"]
    port = address.rpartition(":")[2]
    for named in (address, f"localhost:{port}"):
        assert up("status", "--address", named, "--json").json["slots"] == 2
    assert up("status", "--json", RAY_ADDRESS=address).json["slots"] == 2


@pytest.mark.parametrize("imports", ["import ray, ray_sched", "import ray_sched, ray"])
def test_a_program_joins_it_whatever_it_imports_first(up: Running, imports: str) -> None:
    ended = script(
        up.data_dir,
        f"{imports}\nwith ray_sched.BlockingClient() as client:\n"
        f"    print(client.submit({str(AUDIO)!r}, src='en').text)\n    print(len(ray.nodes()))",
    )
    assert ended.out == "echo of 47840 samples\n2\n", ended.err


def test_a_name_that_is_no_text_is_submitted_like_any_other(up: Running, tmp_path: Path) -> None:
    names = [os.fsdecode(b"a\xfe.wav"), os.fsdecode(b"a\xff.wav"), "a?.wav"]
    for name, n_samples in zip(names, (1600, 3200, 4800), strict=True):
        with (tmp_path / name).open("wb") as file:
            soundfile.write(file, np.zeros(n_samples, np.int16), 16_000, format="WAV")
    ended = up("submit", *(tmp_path / name for name in names), "--from", "en", "--json")
    assert ended.status == 0
    heard = [(Path(row["file"]).name, row["text"]) for row in ended.json]
    assert heard == [(name, f"echo of {n} samples") for name, n in zip(names, (1600, 3200, 4800), strict=True)]


def test_a_wrong_token_is_called_one(up: Running) -> None:
    address = json.loads((up.data_dir / "running.json").read_text())["address"]
    ended = up("status", "--address", address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="ab" * 32)
    assert ended.status == 12
    assert "refused the token" in ended.err


def test_what_is_unknown_has_a_status_of_its_own(up: Running) -> None:
    assert up("explain", "nothing").status == 6
    assert up("drain", "nothing").status == 6


def test_gateways_are_actors_of_it_and_are_drained_with_it(tmp_path: Path) -> None:
    refused = ray_sched(tmp_path, "up", "--gateway", "0.0.0.0:0")
    assert refused.status == 14
    assert "no token is asked for" in refused.err
    command = Command(
        ["up", "--nodes", "2", "--gateway", "127.0.0.1:0"],
        tmp_path,
        **ECHO,
        RAY_SCHED_GATEWAY__NODES="node-1, node-2",
    )
    try:
        urls = [command.wait_for_line("a gateway listens on ").split("listens on ")[1].split(",")[0] for _ in range(2)]
        command.wait_for_line("backlog: 0")
        assert len(set(urls)) == 2, "one on each node"
        for url in urls:
            with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
                assert client.audio.transcriptions.create(file=AUDIO, model="whisper-1").text == "echo of 47840 samples"
        command.signal(signal.SIGTERM)
        assert command.end().status == 0
        assert command.left_behind() == []
    finally:
        command.kill()


def test_ray_serve_can_be_the_server_of_its_application(up: Running) -> None:
    pytest.importorskip("ray.serve", reason="pip install 'ray-sched[bench]'")
    (port,) = free_ports(1)
    ended = script(
        up.data_dir,
        "import urllib.request, ray_sched\n"
        "from ray import serve\n"
        "from ray_sched.settings import load_settings\n"
        "from ray_sched.system.gateway_app import gateway_app\n"
        "with ray_sched.BlockingClient():\n"
        f"    serve.start(http_options={{'port': {port}}})\n"
        "    options = {'num_cpus': 0}\n"
        "    door = serve.deployment(serve.ingress(gateway_app)(), ray_actor_options=options)\n"
        "    serve.run(door.bind())\n"
        f"    print(urllib.request.urlopen('http://127.0.0.1:{port}/readyz').read().decode())\n"
        '    body = b\'--x\\r\\nContent-Disposition: form-data; name="file"; filename="a.wav"\\r\\n\\r\\n\'\n'
        f"    body += open({str(AUDIO)!r}, 'rb').read() + b'\\r\\n--x--\\r\\n'\n"
        "    head = {'Content-Type': 'multipart/form-data; boundary=x'}\n"
        f"    asked = urllib.request.Request('http://127.0.0.1:{port}/v1/audio/transcriptions', body, head)\n"
        "    print(urllib.request.urlopen(asked, timeout=30).read().decode())\n"
        "    serve.shutdown()\n",
    )
    assert ended.status == 0, ended.err
    ready, heard = [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]  # Serve says more
    assert ready == {"status": "ready"}
    assert heard["text"] == "echo of 47840 samples"

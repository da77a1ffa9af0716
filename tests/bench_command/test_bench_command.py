"""``ray-sched bench`` as people call it, on real clusters."""

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.command import Command, ray_sched
from tests.support.weights import whisper_tiny_en

SERVE = ("serve", "serve-value", "serve-http-tuned") if find_spec("grpc_reflection") else ()
RIVALS = ("in-call", "raw", "actorpool", *SERVE)


def test_a_rival_nobody_knows_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "bench", "throughput", "--compare", "celery")
    assert ended.status == 14
    [sentence] = ended.err.splitlines()
    assert sentence.startswith(
        "ray-sched: there is nothing called 'celery' to compare with; known are in-call, serve, "
    )


@pytest.mark.cluster
@pytest.mark.timeout(420)
def test_everything_is_measured_one_after_the_other_and_nothing_is_left(tmp_path: Path) -> None:
    picture = tmp_path / "throughput.svg"
    args = "bench throughput --runs 1 --seconds 0.5 --warm-up 0.1 --nodes 2 --in-flight 8,16 --half-load --bulk 200"
    command = Command([*args.split(), "--json", "--plot", picture, "--compare", ",".join(RIVALS)], tmp_path)
    ended = command.end(timeout_s=400)
    assert ended.status == 0, ended.err
    assert command.left_behind() == []
    report = ended.json
    assert set(report["results"]) == set(report["best"]) == {"ray_sched", *RIVALS}
    assert set(report["by_in_flight"]) == {"8", "16"}
    for name, result in report["results"].items():
        assert result["jobs_per_s"] > 0, name
        assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["p999_ms"], name
        assert result["cpu_ms_per_job"] > 0, name
        assert result["peak_rss_mb"] > 0, name
        assert len(result["runs"]) == 1
        assert report["best"][name]["jobs_per_s"] >= result["jobs_per_s"]
    assert set(report["half_load"]) == {"ray_sched", *RIVALS} - {"actorpool"}, "an ActorPool cannot submit on time"
    assert report["bulk"]["jobs"] == 200
    n_jobs = sum(run["jobs"] for each in report["by_in_flight"].values() for run in each["ray_sched"]["runs"])
    assert report["through"] == {"store": n_jobs * report["audio_bytes"], "call": 0}, "5 s are more than goes in a call"
    assert report["results"]["raw"]["runs"][0]["through"] is None
    in_call = report["results"]["in-call"]["runs"][0]
    assert in_call["through"] == {"store": 0, "call": in_call["jobs"] * report["audio_bytes"]}
    assert report["setting"]["command"].startswith("ray-sched bench throughput --runs 1")
    assert picture.stat().st_size > 5_000


@pytest.mark.cluster
def test_latency_beside_another_is_a_ratio(tmp_path: Path) -> None:
    command = Command(
        ["bench", "latency", "--compare", "tasks", "--jobs", "20", "--warm-up", "0.2", "--json"], tmp_path
    )
    ended = command.end(timeout_s=170)
    assert ended.status == 0, ended.err
    assert command.left_behind() == []
    results = ended.json["results"]
    assert [run["jobs"] for run in results["tasks"]["runs"]] == [20]
    assert ended.json["through"] == {"store": 20 * 160_000, "call": 0}
    assert ended.json["added_ms"]["p50"] == results["ray_sched"]["p50_ms"]
    assert ended.json["p50_to"] == {"tasks": round(results["ray_sched"]["p50_ms"] / results["tasks"]["p50_ms"], 3)}


@pytest.mark.cluster
def test_ctrl_c_in_the_middle_of_a_trial_ends_its_cluster(tmp_path: Path) -> None:
    command = Command(["bench", "throughput", "--nodes", "1", "--seconds", "120", "--warm-up", "0.2"], tmp_path)
    command.wait_for_line("starting the scheduler")
    command.signal(signal.SIGINT)
    ended = command.end(timeout_s=90)
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == "ray-sched: interrupted; nothing is left running"
    assert command.left_behind() == []


@pytest.mark.cluster
def test_a_trial_whose_bench_was_killed_ends_by_itself(tmp_path: Path) -> None:
    command = Command(["bench", "throughput", "--nodes", "1", "--seconds", "120", "--warm-up", "0.2"], tmp_path)
    command.wait_for_line("starting the scheduler")
    command.signal(signal.SIGKILL)
    command.end()
    assert command.left_behind(retry_for_s=60) == []


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_audio_that_is_kept_is_seen_and_ours_holds_next_to_none(tmp_path: Path) -> None:
    picture = tmp_path / "memory.png"
    command = Command(f"bench memory --burst 40 --hour-s 6 --jobs 3000 --json --plot {picture}".split(), tmp_path)
    ended = command.end(timeout_s=280)
    assert ended.status == 0, ended.err
    assert command.left_behind() == []
    ways = ended.json["ways"]
    for_ever, with_the_job, own = ways["for ever"], ways["with the job"], ways["ray_sched"]
    assert for_ever["jobs_done"] == with_the_job["jobs_done"] == own["jobs_done"] == 160
    assert for_ever["audio_mb"] > with_the_job["audio_mb"] > own["audio_mb"]
    assert for_ever["samples"][-1]["jobs"] == 160, "nothing was forgotten"
    assert for_ever["store_mb"] >= for_ever["audio_mb"] * 0.9, "it is really in Ray's store"
    assert own["samples"][-1]["jobs"] < 160
    assert ended.json["growth"]["jobs"] == 3_000
    assert picture.stat().st_size > 5_000


def test_growth_is_measured_without_a_cluster(tmp_path: Path) -> None:
    picture = tmp_path / "scale.svg"
    ended = ray_sched(tmp_path, "bench", "scale", "--what", "pools", "--jobs", "30", "--json", "--plot", picture)
    assert ended.status == 0, ended.err
    assert [step["size"] for step in ended.json["steps"]["pools"]] == [1, 5, 20, 50]
    assert picture.stat().st_size > 5_000
    refused = ray_sched(tmp_path, "bench", "scale", "--what", "moons")
    assert refused.status == 2


def test_explaining_is_measured_with_its_longest_part(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "bench", "explain", "--nodes", "5", "--waiting", "30", "--questions", "4", "--json")
    report = ended.json
    assert (report["nodes"], report["waiting"], report["questions"]) == (5, 30, 4)
    assert 0 < report["longest_slice_p50_ms"] <= report["p50_ms"] <= report["p99_ms"]


def test_an_engine_is_compared_with_what_is_known_and_needs_weights(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "bench", "engine", "--asr-model", "tiny.en", "--compare", "celery")
    assert ended.status == 14
    assert "known are batched, copies, bare, bare-batched, serve-batch" in ended.err


@pytest.mark.cluster
@pytest.mark.timeout(420)
def test_a_real_model_is_measured_beside_the_same_without_the_scheduler(tmp_path: Path) -> None:
    rivals = ("bare", "bare-batched", "batched", "copies", *(("serve-batch",) if SERVE else ()))
    args = "bench engine --runs 1 --seconds 0.5 --warm-up 0.5 --slots 2 --replicas 2 --json --option beam-size=1"
    args += f" --asr-model {whisper_tiny_en()}"
    command = Command([*args.split(), "--compare", ",".join(rivals)], tmp_path)
    ended = command.end(timeout_s=400)
    assert ended.status == 0, ended.err
    assert command.left_behind() == []
    results = ended.json["by_slots"]["2"]
    assert list(results) == ["ray_sched", *rivals]
    assert list(ended.json["by_replicas"]) == ["2"]
    for name, result in [*results.items(), ("replicas", ended.json["by_replicas"]["2"])]:
        assert result["audio_s_per_s"] > 0, name
        assert result["audio_s_per_cpu_s"] > 0, name
        assert 0 < result["p50_ms"] <= result["p99_ms"], name
        assert result["model_mb"] > 75, f"the weights of {name}"
        assert result["word_errors_percent"] < 15, name
        assert result["runs"][0]["jobs"] >= 4, name
    assert results["bare"]["beside_cores"] == 0.0
    assert results["copies"]["model_mb"] > results["ray_sched"]["model_mb"]
    assert set(ended.json["own_is"]["2"]) == set(ended.json["own_model_is"]["2"]) == set(rivals)

"""``cluster.yaml``, as far as it can be checked without a cloud: what Ray's launcher and the Registry make of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_sched.core.capability import Capability
from ray_sched.core.nodes.declarations import Declaration, Held, RayNode, declare
from ray_sched.settings import PREFIX, Settings
from ray_sched.system.local import RAY_ENVIRONMENT

FILE = Path(__file__).parents[2] / "cluster.yaml"
COMMANDS = ["head_start_ray_commands", "worker_start_ray_commands"]


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def exports(config: dict[str, Any], commands: str) -> dict[str, str]:
    """What the command that starts Ray has in its environment."""
    [line] = [line for line in config[commands] if "ray start" in line]
    return dict(re.findall(r"export (\w+)=([^;]+);", line))


def declaration(config: dict[str, Any], kind: str) -> Declaration | None:
    node_type = config["available_node_types"][kind]
    labels, resources = node_type.get("labels", {}), node_type["resources"]
    ray_node = RayNode(ray_node_id="0" * 56, labels=labels, cpus=resources["CPU"], gpus=resources.get("GPU", 0))
    return declare(ray_node, 4)


def test_rays_launcher_accepts_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["head_node_type"] == "head"
    assert not [command for command in prepared["head_setup_commands"] if "ray-wheels" in command]


def test_every_worker_type_has_as_many_nodes_as_it_may_have(config: dict[str, Any]) -> None:
    workers = {name: it for name, it in config["available_node_types"].items() if name != config["head_node_type"]}
    assert {name: it["min_workers"] for name, it in workers.items()} == {
        name: it["max_workers"] for name, it in workers.items()
    }
    assert sum(it["max_workers"] for it in workers.values()) <= config["max_workers"]


@pytest.mark.parametrize("commands", COMMANDS)
def test_every_process_has_the_environment_that_a_local_cluster_has(config: dict[str, Any], commands: str) -> None:
    assert RAY_ENVIRONMENT.items() <= exports(config, commands).items()


@pytest.mark.parametrize("commands", COMMANDS)
def test_every_process_has_token_authentication_and_the_token_on_its_disk(
    config: dict[str, Any], commands: str
) -> None:
    told = exports(config, commands)
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["RAY_AUTH_TOKEN_PATH"].replace("$HOME", "~") in config["file_mounts"]
    assert "RAY_AUTH_TOKEN" not in told, "a secret does not stand in a command"


def test_the_head_and_the_scheduler_share_a_redis_and_no_key(config: dict[str, Any]) -> None:
    told = exports(config, "head_start_ray_commands")
    assert told["RAY_SCHED_STORE__REDIS_URL"] == f"redis://{told['RAY_REDIS_ADDRESS']}/0"
    assert told["RAY_external_storage_namespace"]
    assert not f"RAY{told['RAY_external_storage_namespace']}".startswith(told["RAY_SCHED_STORE__PREFIX"])


def test_the_scheduler_knows_the_settings_that_the_head_gives_it(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = exports(config, "head_start_ray_commands")
    for name, value in told.items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.store.redis_url == "redis://redis.internal:6379/0"
    assert settings.store.prefix == "ray_sched"


def test_a_stopped_job_may_drain_for_longer_than_up_does(config: dict[str, Any]) -> None:
    drain_s = 10
    assert int(exports(config, "head_start_ray_commands")["RAY_JOB_STOP_WAIT_TIME_S"]) >= 3 * drain_s


def test_ray_takes_the_labels(config: dict[str, Any]) -> None:
    from ray._private.label_utils import validate_node_label_syntax  # noqa: PLC0415

    for node_type in config["available_node_types"].values():
        validate_node_label_syntax(node_type.get("labels", {}))


def test_the_head_gets_no_agent_and_no_work(config: dict[str, Any]) -> None:
    assert declaration(config, "head") is None
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_a_cpu_node_speaks_english_and_spanish(config: dict[str, Any]) -> None:
    node = declaration(config, "cpu")
    assert node is not None
    assert node.capability == Capability(engine="speech", asr=("en",), mt=("en:es",), tts=("en", "es"))
    assert (node.engine, node.slots, node.options) == ("speech", 8, {})


def test_a_gpu_node_has_models_for_four_languages(config: dict[str, Any]) -> None:
    node = declaration(config, "gpu")
    assert node is not None
    assert node.capability == Capability(
        engine="neural",
        asr=("de", "en", "es", "fr"),
        mt=("de:en", "en:de", "en:es", "es:en"),
        tts=("de", "en", "es"),
        has_gpu=True,
    )
    assert node.options == {"asr-model": "whisper-large-v3", "mt-model": "opus-mt", "tts-model": "piper"}
    assert (node.engine, node.slots, node.held) == ("neural", 4, Held(gpus=1.0))

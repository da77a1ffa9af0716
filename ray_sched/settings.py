"""Settings: one frozen tree, from a YAML file and ``RAY_SCHED_*`` variables. The only reader of the environment.

Nested keys are joined by two underscores in variables: ``RAY_SCHED_CLEANUP__KEEP_MS=120000``. Variables go before the
file. An unknown key is an error that names a near one, or all of its section.
"""

import difflib
import json
import os
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.nodes.profiles import BadProfileError, Profile, read_profiles
from ray_sched.core.rules import (
    INLINE_BYTES,
    CleanupRules,
    DeliveryRules,
    DispatchRules,
    Milliseconds,
    NodeRules,
    PoolRules,
    SelectionRules,
)
from ray_sched.core.turns.rules import RealtimeRules
from ray_sched.yaml_file import read_yaml

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "RAY_SCHED_"
CONFIG_VARIABLE = "RAY_SCHED_CONFIG"
"""Names the YAML file."""
_DELIMITER = "__"
MAX_OPTION_LETTERS = 4_096
_MAX_NAME = 64
RAYS_DASHBOARD_PORT = 8_265
Name = Annotated[str, MaxLen(_MAX_NAME)]


def default_data_dir() -> Path:
    """Where the embedded Redis and the note about the running scheduler live: ``$XDG_DATA_HOME/ray_sched``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ray_sched"


def with_home(path: Path) -> Path:
    """The path with a leading ``~`` replaced. Raises SchedError where that user has no home here."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise _invalid(
            f"data_dir {str(path)!r} begins with a user who has no home here; write the whole path"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRules:
    """Redis."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    redis_url: str = ""
    """``redis://[:password@]host:port/db``, ``rediss://`` or ``unix://``; empty: an embedded server."""
    prefix: str = "ray_sched"
    """Every key begins with it; two schedulers on one Redis need two."""
    appendfsync: Literal["everysec", "always"] = "everysec"
    """The embedded server's promise: its death or a power cut costs at most the last second or two, or nothing."""
    timeout_ms: Milliseconds = 2_000
    """No command waits longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRules:
    """Submitters."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    retry_for_ms: Milliseconds = 10_000
    """A submit is repeated this long while the scheduler does not answer."""
    read_timeout_ms: Milliseconds = 30_000
    """An audio source, such as a pipe or a file on a share, that gives nothing for so long is given up."""
    max_audio_s: Annotated[float, Gt(0), Le(86_400)] = 600.0
    """Longer audio is refused."""
    inline_bytes: Annotated[int, Ge(0), Le(8 * 2**20)] = INLINE_BYTES
    """A push of up to so much audio goes in the call itself, a larger one through the object store; 0: every one."""
    keeps_memory: bool = True
    """The submitter's process keeps up to 64 MiB of memory that its pushes have freed (glibc's ``mallopt``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRules:
    """The Ray that ``demo``, and ``up`` without an address, start on this machine."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    nodes: Annotated[int, Ge(1), Le(64)] = 2
    slots_per_node: Annotated[int, Ge(1), Le(1024)] = 1
    engine: str = "speech"
    profile: str = ""
    """Of each node, instead of one engine; empty: none."""
    object_store_mb: Annotated[int, Ge(80)] = 256
    """Per node."""
    dashboard_port: Annotated[int, Ge(0), Le(65_535)] = RAYS_DASHBOARD_PORT
    """Of Ray's dashboard, which ``up`` starts; the next free one if 8265 is taken; 0: no dashboard."""


def _option(value: object) -> object:
    """An option is a text; YAML makes numbers and truths of some."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value


EngineOptions = dict[
    Annotated[str, MaxLen(_MAX_NAME)], Annotated[str, MaxLen(MAX_OPTION_LETTERS), BeforeValidator(_option)]
]
"""Options of an engine, as its labels' ``option.NAME`` say them."""


def _profiles(told: object) -> object:
    return read_profiles(told, "profiles") if isinstance(told, dict) else told


_ALIASES = (
    "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe",
    "gpt-live-transcribe", "gpt-realtime-whisper", "gpt-realtime-translate",
    "tts-1", "tts-1-hd", "gpt-4o-mini-tts",
)  # fmt: skip
_HASH = re.compile("[0-9a-f]{64}")


def _hashes(told: object) -> object:
    """A variable holds them as JSON."""
    if not isinstance(told, str):
        return told
    try:
        return json.loads(told)
    except ValueError:
        raise ValueError('it must be JSON in a variable, such as {"acme": "HASH"}') from None


def _names(told: object) -> object:
    """A variable separates them by commas."""
    return tuple(name.strip() for name in told.split(",") if name.strip()) if isinstance(told, str) else told


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _checked_hashes(hashes: dict[str, str]) -> dict[str, str]:
    for tenant, known in hashes.items():
        if not tenant or not _HASH.fullmatch(known):
            raise ValueError(
                f"the token hash of {tenant!r} is none; make one with ray-sched token {tenant or 'TENANT'}"
            )
    return hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRules(RealtimeRules):
    """The front door for clients that speak HTTP."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    listen: str = "127.0.0.1:8080"
    """``HOST:PORT``; other machines reach it only where there are tokens."""
    nodes: Names = ()
    """Of the gateways that ``up --gateway`` starts, one on each; none: the one on which ``up`` runs."""
    token_hashes: Annotated[dict[str, str], BeforeValidator(_hashes), AfterValidator(_checked_hashes)] = field(
        default_factory=dict
    )
    """By tenant; ``ray-sched token TENANT`` makes one."""
    language: str = "en"
    """Spoken in a request that names no language; ``auto`` where the engines recognise it."""
    models: Names = _ALIASES
    """Names of models that requests may give; the engine is the nodes' own."""
    split_s: Annotated[float, Ge(1), Le(600)] = 30.0
    """Longer files are cut where nobody speaks, and their parts are recognised side by side."""
    origins: Names = ()
    """Of web pages of other hosts that may ask, such as ``https://example.org``; the gateway's own page always may."""
    max_upload_mb: Annotated[int, Ge(1), Le(512)] = 64
    max_held_mb: Annotated[int, Ge(1), Le(65_536)] = 1_024
    """Of the requests that are being answered, all together."""
    max_requests: Annotated[int, Ge(1), Le(100_000)] = 256
    """Answered at once; more are told to come again."""
    audio_s_per_minute: Annotated[float, Ge(0), Le(1_000_000)] = 0.0
    """Of one tenant, at one gateway; 0: as much as comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveRules:
    """What monitoring systems see."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    metrics: bool = True
    """Actors write their metrics into Ray's Prometheus endpoints."""
    journal: bool = False
    """What happens to jobs and nodes is written to ``journal/`` in the data directory, a JSON value a line."""
    journal_mb: Annotated[int, Ge(1), Le(10_000)] = 64
    """Of one file; then the next one is begun."""
    journal_files: Annotated[int, Ge(2), Le(1_000)] = 4
    """The oldest of more files is removed."""


class Settings(BaseSettings):
    """Everything that can be set. Frozen; sections are the rules of the brains they are given to."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=_DELIMITER, extra="forbid", frozen=True, validate_default=True
    )

    address: str = ""
    """Ray's address, ``host:6379``; empty: ``RAY_ADDRESS``, else the scheduler that runs on this machine."""
    namespace: str = "ray_sched"
    """Ray namespace of the actors; two schedulers on one cluster need two."""
    data_dir: Annotated[Path, AfterValidator(with_home)] = default_data_dir()
    store: StoreRules = StoreRules()
    dispatch: DispatchRules = DispatchRules()
    delivery: DeliveryRules = DeliveryRules()
    selection: SelectionRules = SelectionRules()
    cleanup: CleanupRules = CleanupRules()
    nodes: NodeRules = NodeRules()
    pools: PoolRules = PoolRules()
    client: ClientRules = ClientRules()
    local: LocalRules = LocalRules()
    engines: dict[Name, EngineOptions] = {}
    """Options of engines, by the engine's name or by a node's; a node's labels go before its name, that before the
    engine's: ``engines: {neural: {asr-model: base.en}, node-7: {asr-model: /data/whisper}}``."""
    profiles: Annotated[dict[str, Profile], BeforeValidator(_profiles)] = {}
    """The engines of machines whose label ``profile`` names one; what is not here is in a file on those machines."""
    gateway: GatewayRules = GatewayRules()
    observe: ObserveRules = ObserveRules()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables go before what ``load_settings`` read from the file; no other source is looked at."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(config: Path | None = None) -> Settings:
    """Read the file (``config``, else ``RAY_SCHED_CONFIG``) and the variables.

    Raises SchedError INVALID_CONFIGURATION with one sentence that names the key and what it should be.
    """
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    told = read_yaml(named) if named else {}
    return checked_settings(told, str(named) if named else "the environment")


def checked_settings(told: dict[str, Any], where: str) -> Settings:
    """The settings of a file that was read, and of the variables. Raises SchedError INVALID_CONFIGURATION."""
    known = list(_known_keys())
    for key in _keys_of(told):
        _check_known(key, known, where)
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            _check_known(variable.removeprefix(PREFIX).lower().replace(_DELIMITER, "."), known, variable[:80])
    try:
        return Settings(**told)
    except ValidationError as error:
        raise _invalid(_value_sentence(error.errors()[0], where)) from None
    except SettingsError as error:  # a section in one variable that is no JSON
        raise _invalid(f"the environment: {error}; name one key, such as {PREFIX}CLEANUP{_DELIMITER}KEEP_MS") from None
    except RecursionError:
        raise _invalid(f"{where}: it is nested too deeply to be settings") from None


def default_settings(**overrides: Any) -> Settings:
    """Settings as the defaults have them, whatever the environment says; sections may be replaced."""
    return Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
    ).model_copy(update=overrides)


def visible_gpus_variable() -> str | None:
    """``CUDA_VISIBLE_DEVICES``, which Ray sets for an actor that holds GPUs; None: not set, all may be used."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def environment() -> dict[str, str]:
    """All variables of this process, for programs that it starts."""
    return dict(os.environ)


def ray_address_variable() -> str:
    """``RAY_ADDRESS``, which ``ray job submit`` sets for what it starts."""
    return os.environ.get("RAY_ADDRESS", "")


def ray_variable(name: str) -> str:
    """A variable of Ray's own, such as ``RAY_AUTH_MODE``; empty: it is not set."""
    return os.environ.get(name, "")


def is_width_set() -> bool:
    """Whether ``COLUMNS`` says how wide a table may be."""
    return bool(os.environ.get("COLUMNS"))


def profiles_file_variable() -> str:
    """``RAY_SCHED_NODES__PROFILES_FILE`` of this process: on a node, of the ``ray start`` that has made it one."""
    return os.environ.get("RAY_SCHED_NODES__PROFILES_FILE", "")


def profiles_of(path: Path) -> dict[str, Profile]:
    """All profiles of a file. Raises SchedError INVALID_CONFIGURATION with one sentence."""
    try:
        return read_profiles(read_yaml(path, "file of profiles"), str(path))
    except BadProfileError as error:
        raise _invalid(str(error)) from None


def _value_sentence(error: "ErrorDetails", where: str) -> str:
    """What is wrong with a value; a variable goes before the file, so it is to blame where it is set."""
    key = ".".join(str(part) for part in error["loc"])
    variable = PREFIX + key.upper().replace(".", _DELIMITER)
    what = error["msg"]
    if isinstance(bad := error.get("ctx", {}).get("error"), BadProfileError):
        return f"{variable if variable in os.environ else where}: {bad}"
    default = Settings.model_fields[key].default if key in Settings.model_fields else None
    if is_dataclass(default):
        what = f"it has settings of its own, such as {fields(default)[0].name}"
    return f"{variable if variable in os.environ else where}: {key}: {what}, not {reprlib.repr(error['input'])}"


def _known_keys() -> Iterator[str]:
    for name, section in Settings.model_fields.items():
        yield name
        if is_dataclass(section.default):
            yield from (f"{name}.{inner.name}" for inner in fields(section.default))


_FREE = {"engines", "profiles"}
"""Whose keys are names that users choose."""


def _keys_of(told: dict[str, Any]) -> Iterator[str]:
    for name, value in told.items():
        yield str(name)
        if isinstance(value, dict) and name not in _FREE:
            yield from (f"{name}.{inner}" for inner in value)


def _check_known(key: str, known: list[str], where: str) -> None:
    if key not in known:
        raise _invalid(f"{where}: there is no setting {reprlib.repr(key)}; {_hint(key[:200], known)}")


def _hint(key: str, known: list[str]) -> str:
    """The setting that may have been meant; without one that is near, what there is."""
    section, _, name = key.partition(".")
    siblings = {one.partition(".")[2]: one for one in known if one.startswith(f"{section}.")}
    whole = {one: one for one in known}
    last = {one.rpartition(".")[2]: one for one in known}
    looks = [(name, last, 0.9), (name, siblings, 0.5)] if siblings else [(key, whole, 0.6), (name or key, last, 0.6)]
    for word, names, cutoff in looks:
        for near in difflib.get_close_matches(word, names, n=1, cutoff=cutoff):
            return f"did you mean {names[near]!r}?"
    if siblings:
        return f"{section} has {', '.join(siblings)}"
    return f"there are {', '.join(one for one in known if '.' not in one)}"


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)

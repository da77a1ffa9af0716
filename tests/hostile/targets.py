"""What is done with bytes from strangers, one function for each border. Each raises when a border does not hold.

A border holds if whatever comes is either taken, and is then what its type says, or refused with the error that the
border promises. These functions are given random bytes by Hypothesis and mutated ones by atheris.
"""

import asyncio
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from ray_sched.agent.engine import EngineResult
from ray_sched.agent.engine_messages import (
    LENGTH_BYTES,
    BadFrameError,
    EngineFailed,
    EngineFinished,
    EngineLoaded,
    FromProcess,
    PartialEmitted,
    PassBegan,
    RunDropped,
    decode_from_process,
    encode_frame,
    reply_length,
)
from ray_sched.audio import Limits, RawFormat, duration_of
from ray_sched.audio import decode as decode_audio
from ray_sched.core.capability import MAX_NAME, BadCapabilityError, Capability, checked
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.dispatch.records import read_jobs
from ray_sched.core.effects import CleanupDue, ClientPolled, PoolOffered, Swept
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.job import Job, to_record
from ray_sched.core.messages.agent_dispatcher import (
    AgentBatch,
    AgentOrders,
    DropSpeech,
    RunAccepted,
    RunBegan,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
    StopRun,
)
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat, Load
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ, Fetch, Push, PushItem
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Alive,
    Assigned,
    AttemptNote,
    AudioUnreadable,
    Cancel,
    ClientBatch,
    ClientReply,
    Delivered,
    Mail,
    MissingResult,
    Outcome,
    PartialText,
    Poll,
    PushFailed,
    Refused,
    SpeechFetched,
    SpeechLost,
    SpeechReady,
    Submit,
)
from ray_sched.core.messages.fields import MAX_SLOTS, Message
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt
from ray_sched.core.messages.registry_dispatcher import PoolRemoved
from ray_sched.core.messages.registry_pool import NodeView, PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.declarations import BadLabelError, RayNode, declare, declare_profile
from ray_sched.core.nodes.profiles import BadProfileError, read_profile
from ray_sched.core.nodes.records import read_nodes
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.rules import DeliveryRules, DispatchRules, NodeRules, PoolRules, SelectionRules
from ray_sched.settings import PREFIX, Settings, checked_settings
from ray_sched.wire.codec import decode, encode
from ray_sched.yaml_file import parse_yaml
from tests.audio.odd_audio.catalogue import KINDS as AUDIO_KINDS
from tests.audio.odd_audio.catalogue import good
from tests.hostile.realtime import realtime, realtime_seeds
from tests.support.builders import ENGLISH, a_beat, a_node, a_ray_node, a_spec, an_offer

KINDS: tuple[type[Message], ...] = tuple(sorted(Message.__subclasses__(), key=lambda kind: kind.__name__))
"""Everything that travels."""

MULTILINGUAL = Capability(
    engine="echo", asr=("en", "es"), mt=("any:en", "en:es"), tts=("es",), tenant="acme", has_gpu=True
)
_A_MINUTE_S = 60.0
_LATER_MS = 10**10
MAX_SEED_BYTES = 8_192
"""Longer inputs are cut by libFuzzer."""


@contextmanager
def _refused_with(code: Code) -> Iterator[None]:
    """A refusal is fine if it has this code and is one printable sentence."""
    try:
        yield
    except SchedError as error:
        _check_refusal(error, code)


def _check_refusal(error: SchedError, code: Code) -> None:
    assert error.code is code, error
    assert len(error.message.encode()) < 5_000


def messages(data: bytes) -> None:
    """The first byte chooses the kind of message; the others are the message, and say how to twist a good one."""
    kind = KINDS[data[0] % len(KINDS)] if data else Poll
    _decode(data[1:], kind)
    _decode(msgspec.msgpack.encode(twisted(msgspec.to_builtins(GOOD[kind]), bytearray(data[:0:-1]))), kind)


def _decode(raw: bytes, kind: type[Message]) -> None:
    with _refused_with(Code.INVALID_MESSAGE):
        message = decode(raw, kind)
        assert decode(encode(message), kind) == message


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**53 + 1,
    2**63,
    2**64 - 1,
    -(2**63),
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    "",
    "x" * 257,
    "x" * 100_001,
    "\0",
    b"\xff",
    [],
    [[[[]]]],
    {},
    {"type": "Submit"},
    ["x"] * 300,
)
"""What stands where something else was expected."""


def twisted(good: Any, choices: bytearray) -> Any:
    """A good thing with some of its parts replaced, left out or added, as the bytes choose; they are used up."""
    choice = choices.pop() if choices else 255
    if choice < len(ODD):
        return ODD[choice]
    if isinstance(good, dict):
        kept = {name: twisted(value, choices) for name, value in good.items() if choice % 16 or name != "type"}
        return kept | ({"more": 1} if choice == len(ODD) else {})
    if isinstance(good, list | tuple):
        return [twisted(value, choices) for value in good] * (1 + (choice == len(ODD) + 1))
    return good


def labels(data: bytes) -> None:
    """Lines of ``name=value``; names are taken as labels of ours."""
    text = data.decode(errors="surrogateescape")
    pairs = [line.split("=", 1) for line in text.split("\n") if "=" in line]
    told = {f"ray-sched.io/{name}": value for name, value in pairs}
    try:
        declaration = declare(RayNode(ray_node_id="0123456789", labels=told), 4)
    except BadLabelError:
        return
    if declaration is not None:
        assert 1 <= declaration.slots <= MAX_SLOTS
        _check_name(declaration.node)
        assert checked(declaration.capability) == declaration.capability
        _check_pool_name(declaration.capability)


def profiles(data: bytes) -> None:
    """A file of profiles on a node: each is none, or says what labels could say."""
    ray_node = RayNode(ray_node_id="0123456789", labels={"ray-sched.io/profile": "p"}, gpus=1.0)
    try:
        told = parse_yaml(data, "p.yaml")
        for profile in (read_profile(told, name, "p.yaml") for name in told):
            for declaration in declare_profile(ray_node, profile, 4):
                machine, _, engine = declaration.node.partition("/")
                _check_name(machine)
                _check_name(engine)
                assert checked(declaration.capability) == declaration.capability
                _check_pool_name(declaration.capability)
    except (BadProfileError, SchedError):
        return


def _check_name(name: str) -> None:
    assert 0 < len(name) <= MAX_NAME
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/:#*? \"'")


def _check_pool_name(capability: Capability) -> None:
    name = capability.text()
    assert len(f"pool:{name}#99") <= 256
    assert name.isascii()
    assert name.isprintable()


def capability(data: bytes) -> None:
    """MessagePack of anything is what an agent declares in its heartbeat, and what an engine returned.

    Then the same bytes say how to twist a good declaration.
    """
    _declare(twisted(msgspec.to_builtins(MULTILINGUAL), bytearray(data[::-1])))
    with suppress(msgspec.DecodeError, ValueError, RecursionError):
        _declare(msgspec.msgpack.decode(data))


def _declare(told: Any) -> None:
    if isinstance(told, dict):
        with suppress(BadCapabilityError, TypeError):  # TypeError: the engine's class has other fields, or keys
            _check_pool_name(checked(Capability(**told)))
    beat = msgspec.to_builtins(a_beat(capability=None)) | {"capability": told}
    with suppress(TypeError, OverflowError):  # what was decoded need not be something that can be encoded
        raw = msgspec.msgpack.encode(beat)
        with _refused_with(Code.INVALID_MESSAGE):
            _join(decode(raw, Heartbeat))


def _join(beat: Heartbeat) -> None:
    registry = RegistryBrain(1, NodeRules(), PoolRules())
    registry.handle_ray_nodes([a_ray_node()], 0)
    registry.handle_heartbeat(beat, 1)
    for pool in registry.pools.values():
        _check_pool_name(pool.capability)
    for effect in registry.tick(2):
        members = getattr(effect, "members", None)
        if members is not None:
            decode(encode(members), PoolMembers)


def configuration(data: bytes) -> None:
    """A file; behind a zero byte, lines of ``NAME=value`` are variables."""
    file, _, environment = data.partition(b"\0")
    variables = {PREFIX.encode() + name: value for name, value in _assignments(environment)}
    os.environb.update(variables)
    try:
        with _refused_with(Code.INVALID_CONFIGURATION):
            settings = checked_settings(parse_yaml(file, "a.yaml"), "a.yaml")
            assert isinstance(settings, Settings)
            DispatchBrain("boot", settings.dispatch, settings.delivery, settings.selection)
    finally:
        for name in variables:
            del os.environb[name]


def _assignments(lines: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in lines.replace(b"\0", b"").split(b"\n"):
        name, is_there, value = line.partition(b"=")
        if is_there:
            yield name, value


def audio_files(data: bytes) -> None:
    """A file of at most a minute: taken whole, or as far as it is there, or refused; or samples without a header."""
    limits = Limits(max_duration_s=_A_MINUTE_S)
    with _refused_with(Code.INVALID_AUDIO):
        assert 0 <= duration_of(io.BytesIO(data), "it", limits) < math.inf
    for raw, allow_partial in ((None, False), (None, True), (RawFormat(8_000, "mulaw"), False)):
        with _refused_with(Code.INVALID_AUDIO):
            heard = decode_audio(io.BytesIO(data), "it", limits, raw=raw, allow_partial=allow_partial)
            assert heard.samples.dtype == "int16"
            assert heard.samples.ndim == 1
            assert 0 < len(heard.samples) <= _A_MINUTE_S * SAMPLE_RATE_HZ
            assert heard.report.samples == len(heard.samples)
            assert heard.report.whole or heard.report.notes


def records(data: bytes) -> None:
    """Lines are records of jobs, behind a zero byte records of nodes: what can be taken up works afterwards.

    Then the same bytes say how to twist good records.
    """
    jobs, _, nodes = data.partition(b"\0")
    _take_up(jobs.split(b"\n"), nodes.split(b"\n"))
    choices = bytearray(data[::-1])
    twisted_jobs = [_json(twisted(msgspec.to_builtins(job), choices)) for job in sample_jobs()]
    _take_up(twisted_jobs, [_json(twisted(msgspec.json.decode(node), choices)) for node in sample_node_records()])


def _json(what: Any) -> bytes:
    try:
        return msgspec.json.encode(what)
    except (TypeError, ValueError, OverflowError):
        return b"{"


def _take_up(jobs: list[bytes], nodes: list[bytes]) -> None:
    read = read_jobs(jobs)
    read.sentence("jobs").encode(errors="surrogatepass")
    _live(read.readable)
    registry = RegistryBrain(1, NodeRules(), PoolRules())
    registry.restore(read_nodes(nodes).readable, 0)
    for effect in [*registry.tick(1), *registry.tick(_LATER_MS)]:
        members = getattr(effect, "members", None)
        if members is not None:
            decode(encode(members), PoolMembers)


def _live(jobs: list[Job]) -> None:
    """A Dispatcher's brain takes these jobs over, meets a node, and lives until everything is over."""
    brain = DispatchBrain("boot", DispatchRules(), DeliveryRules(), SelectionRules())
    brain.restore(jobs, 1_000)
    brain.handle(PoolOffered(an_offer(a_node(), number=1)), 1_001)
    for client in {job.client_id for job in jobs}:
        brain.handle(ClientPolled(client), 1_002)
    for job in list(brain.jobs.values()):
        to_record(job)
    for step in range(1, 8):
        brain.handle(Swept(), _LATER_MS * step)
    brain.handle(CleanupDue(0), _LATER_MS * 9)
    assert all(not job.is_terminal for job in brain.jobs.values())


def frames(data: bytes) -> None:
    """What an engine's process writes: one good frame after the other, or the process is not to be trusted."""
    with suppress(BadFrameError, asyncio.IncompleteReadError):
        asyncio.run(_read_frames(data))


async def _read_frames(data: bytes) -> list[FromProcess]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    heard = []
    while not reader.at_eof():
        head = await reader.readexactly(LENGTH_BYTES)
        heard.append(decode_from_process(await reader.readexactly(reply_length(head))))
    return heard


TARGETS: dict[str, Callable[[bytes], None]] = {
    "messages": messages,
    "labels": labels,
    "capability": capability,
    "configuration": configuration,
    "profiles": profiles,
    "audio": audio_files,
    "records": records,
    "frames": frames,
    "realtime": realtime,
}


# --- where mutation begins -----------------------------------------------------------------------------------------


def seeds(target: str) -> list[bytes]:
    """Good inputs, and those that once broke something."""
    return {
        "messages": _message_seeds,
        "labels": _label_seeds,
        "capability": _capability_seeds,
        "configuration": _configuration_seeds,
        "profiles": _profile_seeds,
        "audio": _audio_seeds,
        "records": _record_seeds,
        "frames": _frame_seeds,
        "realtime": realtime_seeds,
    }[target]()


def _message_seeds() -> list[bytes]:
    return [bytes([KINDS.index(type(message))]) + encode(message) for message in sample_messages()]


def sample_messages() -> list[Message]:
    """One good message of every kind."""
    outcome = Outcome(status="completed", text="hello", attempts=(AttemptNote(attempt=1, node="a", why="x"),))
    refusal = Refusal(code=Code.OVERLOADED, message="later", retry_after_ms=50)
    item = PushItem(
        job_id="boot-1",
        attempt=1,
        src="en",
        tgt="es",
        services=("asr", "mt"),
        wants_partials=True,
        n_bytes=2,
    )
    view = NodeView(node="a", incarnation=1, agent="agent:a", status=NodeStatus.READY, slots=4)
    submit = Submit(spec=a_spec("r", session="s", utterance_index=3, deadline_ms=5, priority=-1))
    cancel = Cancel(job_id="boot-1")
    assigned = Assigned(job_id="boot-1", attempt=1, node="a", incarnation=1, agent="agent:a")
    mail = Mail(epoch="boot/1", last=1, events=(assigned,), slots=4)
    finished = RunFinished(job_id="boot-1", attempt=1, text="hello", run_ms=5)
    return [
        submit,
        cancel,
        PushFailed(job_id="boot-1", attempt=1, why="no"),
        AudioUnreadable(job_id="boot-1", attempt=1, refusal=refusal),
        SpeechFetched(job_id="boot-1", attempt=1),
        SpeechLost(job_id="boot-1", attempt=1, why="no"),
        ClientBatch(client_id="c", generation=1, messages=(submit, cancel)),
        Poll(client_id="c", generation=1, acked=0),
        Alive(client_id="c", generation=1),
        Accepted(job_id="boot-1", utterance_index=3),
        Refused(refusal=refusal),
        assigned,
        PartialText(job_id="boot-1", attempt=1, text="hel"),
        SpeechReady(job_id="boot-1", attempt=1, agent="agent:a", n_bytes=2, rate_hz=16_000),
        Delivered(job_id="boot-1", session="s", utterance_index=3, outcome=outcome),
        MissingResult(session="s", first_index=0, last_index=2, why="late"),
        mail,
        ClientReply(answers=(Accepted(job_id="boot-1"),), mail=mail),
        Push(incarnation=1, items=(item,)),
        Fetch(job_id="boot-1", attempt=1),
        RunAccepted(job_id="boot-1", attempt=1, audio_ms=1_000, audio_bytes=32_000, loads_within_ms=60_000),
        RunBegan(job_id="boot-1", attempt=1, loaded_ms=8_000),
        RunRefused(job_id="boot-1", attempt=1, why="full"),
        RunPartial(job_id="boot-1", attempt=1, text="hel"),
        finished,
        RunFailed(job_id="boot-1", attempt=1, code=Code.ENGINE_FAILED, why="broke"),
        RunStopped(job_id="boot-1", attempt=1),
        AgentBatch(node="a", incarnation=1, messages=(finished,)),
        StopRun(job_id="boot-1", attempt=1),
        DropSpeech(job_id="boot-1", attempt=1),
        AgentOrders(incarnation=1, orders=(StopRun(job_id="boot-1", attempt=1),)),
        a_beat(load=Load(cpu=1.5)),
        BeatReply(is_current=True),
        PoolMembers(pool="p", epoch=1, number=1, capability=ENGLISH, nodes=(view,)),
        an_offer(a_node(), number=1),
        LeaseReceipt(acquired={"a": 1}),
        SlotsAcquired(epoch=1, number=1, slots={"a": 1}),
        PoolRemoved(pool="pool"),
    ]


def _label_seeds() -> list[bytes]:
    return [
        b"engine=echo\nasr=en.es\nmt=en_es.any_en\ntts=es\nslots=4\ntenant=acme\nnode=n1\noption.speed=4",
        b"engine=my_package.engines.Mine\nslots=0000000011111",
    ]


def _profile_seeds() -> list[bytes]:
    return [
        b"p: {w: {engine: neural, slots: 2, asr: all, services: [asr], options: {asr-model: base, vad: no}}}",
        b"p:\n  a: &a {engine: echo, mt: ['en:es', any_en], tts: es, replicas: 2}\n  b: *a\n",
        b"1: {2: 3}",
    ]


def _capability_seeds() -> list[bytes]:
    many = Capability(engine="whisper", asr=tuple(f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"))
    return [msgspec.msgpack.encode(told) for told in (ENGLISH, MULTILINGUAL, many)]


def _configuration_seeds() -> list[bytes]:
    return [
        b"cleanup: {every_ms: 1000, keep_ms: 120000}\nselection:\n  affinity_discount: 0.5\nnamespace: mine\n",
        b'\0CLEANUP__KEEP_MS=1\nADDRESS=head:6379\nSTORE={"prefix": "x"}',
        b"a: &a [x, x]\nb: &b [*a, *a]\nstore: *b\n",
        b"store: !!float x\n",
        b"cleanup: 2024-99-99\n",
    ]


def _audio_seeds() -> list[bytes]:
    """A file of every kind that is read, as short as it can be and still be one."""
    return [made for name in AUDIO_KINDS if len(made := good(name, 0.05)) <= MAX_SEED_BYTES]


def _record_seeds() -> list[bytes]:
    jobs = b"\n".join(to_record(job).record for job in sample_jobs())
    return [jobs + b"\0" + b"\n".join(sample_node_records()), bytes([200] * 300), bytes([17, *[200] * 200])]


def sample_node_records() -> list[bytes]:
    """A node in its pool."""
    capability = {"engine": "echo", "asr": ["en"]}
    declaration = {"node": "node-a", "engine": "echo", "capability": capability, "slots": 2, "options": {}}
    record = {"ray_node_id": "ray-1", "incarnation": 1, "is_drained": False, "pool": "echo/asr=en"}
    return [_json(record | {"declaration": declaration, "capability": capability})]


def sample_jobs() -> list[Job]:
    """A job that waits, one that is on its way, one that runs and one that has ended."""
    outcome = Outcome(status="completed", text="hello", node="node-a", attempt=1)
    facts: list[dict[str, object]] = [
        {},
        {"status": "assigned", "node": "node-a", "agent": "agent:node-a", "incarnation": 1, "assigned_at_ms": 20},
        {"status": "processing", "node": "node-a", "agent": "agent:node-a", "incarnation": 1, "accepted_at_ms": 30},
        {"status": "completed", "node": "node-a", "ended_at_ms": 40, "outcome": msgspec.to_builtins(outcome)},
    ]
    return [
        msgspec.convert(
            {
                "job_id": f"old-{number}",
                "client_id": "c1",
                "spec": msgspec.to_builtins(a_spec(f"r{number}", session="s")),
                "utterance_index": number,
                "created_at_ms": 10,
                "number": number,
            }
            | fact,
            Job,
        )
        for number, fact in enumerate(facts)
    ]


def _frame_seeds() -> list[bytes]:
    said: list[FromProcess] = [
        EngineLoaded(),
        PartialEmitted(1, "hel"),
        EngineFinished(1, EngineResult(text="hello", speech=b"\0\0", speech_rate_hz=16_000)),
        PassBegan((1, 2)),
        RunDropped(1),
        EngineFailed(1, "broke"),
    ]
    return [b"".join(map(encode_frame, said)), b"\xff\xff\xff\xff\x00", b"Loading the model ...\n"]


GOOD: dict[type[Message], Message] = {type(message): message for message in sample_messages()}
"""One good message of every kind."""

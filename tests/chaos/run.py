"""One run: a real cluster, a steady load, faults one after the other, and in the end the question what is left."""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import redis

from ray_sched.core.rules import PoolRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.settings import ClientRules, Settings, default_settings
from ray_sched.store.keys import Keys
from ray_sched.system.local import LocalNode, prepare_environment
from ray_sched.system.running import RunOptions, running
from ray_sched.system.start import Scheduler
from ray_sched.system.store_stats import StoreStats, object_store_stats
from tests.chaos.faults import (
    ACTOR_FAULTS,
    NODE_FAULTS,
    OTHER_FAULTS,
    Add,
    Environment,
    Fault,
    KillActor,
    KillEngine,
    NodeFault,
)
from tests.chaos.network import Network
from tests.chaos.oracle import Died, Event, Oracle
from tests.chaos.report import (
    FaultRow,
    Injury,
    Leftovers,
    Report,
    audio_bytes_left,
    findings_of,
    machine,
    versions,
)
from tests.chaos.site import Site
from tests.chaos.speaker import Speaker
from tests.chaos.submitter import N_IN_VAIN
from tests.chaos.watch import Watch

_WRITERS = ("dispatcher", "registry")
"""Each has a key that says that all it has saved is there."""

_SPEAKERS = 3
_MOST_HARMED = 2
"""Nodes that are harmed at the same time: the others have to carry the load."""
_NOTICE_S = 30.0
_WHOLE_S = 90.0
_FINISH_S = 150.0
_REST_S = 80.0
_STORE_MB = 100
_BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6): pass"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    seed: int = 0
    seconds: float = 60.0
    every_s: float = 5.0
    faults: tuple[str, ...] = ()
    per_s: float = 28.0
    """Utterances a second, all speakers together."""
    burn: int = 0
    """Processes that burn a core each."""


def nodes() -> list[LocalNode]:
    """Five nodes that work, and two that come and go. Their engines run in threads or in processes."""
    in_threads = [_node(f"thread-{n}", "echo", 4) for n in (1, 2, 3)]
    in_processes = [_node(f"process-{n}", "tests.chaos.engines.IsolatedEcho", 3) for n in (1, 2)]
    return [*in_threads, *in_processes, _node("extra-1", "echo", 4), _node("extra-2", "echo", 4)]


def _node(name: str, engine: str, slots: int) -> LocalNode:
    labels = {"engine": engine, "asr": "en.es", "mt": "en_es.es_en", "tts": "en.es", "node": name, "slots": str(slots)}
    return LocalNode(labels=labels | {"option.speed": "4"})


class SubmitterProcesses:
    """Speakers in processes of their own, one at a time."""

    def __init__(self, address: str, rng: random.Random, per_s: float, oracle: Oracle) -> None:
        self._address = address
        self._rng = rng
        self._per_s = per_s
        self._oracle = oracle
        self._number = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    def current(self) -> str:
        """The name of the one that speaks."""
        return f"submitter-{self._number}"

    def jobs_in_vain(self, name: str) -> list[str]:
        """The first jobs of each."""
        keys = [(name, f"{name}/{number}") for number in range(1, N_IN_VAIN + 1)]
        return [self._oracle.taken[key] for key in keys if key in self._oracle.taken]

    @property
    def is_speaking(self) -> bool:
        """Its jobs have been taken, so that its death can be seen."""
        return self._process is not None and len(self.jobs_in_vain(self.current())) == N_IN_VAIN

    async def start(self) -> None:
        """Start the next one."""
        self._number += 1
        words = (self.current(), self._address, str(self._rng.randrange(2**31)), str(self._per_s))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.submitter", *words, stdout=subprocess.PIPE, start_new_session=True
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            if line.endswith(b"\n"):
                with contextlib.suppress(msgspec.DecodeError):  # what Ray prints
                    self._oracle.handle(msgspec.json.decode(line, type=Event))

    async def kill(self) -> None:
        """End it in the middle of a word."""
        assert self._process
        assert self._reading
        self._process.kill()
        await self._process.wait()
        await self._reading
        self._process = None
        self._oracle.handle(Died(self.current()))

    async def finish(self) -> None:
        """Let it hear everything to its end."""
        if self._process and self._reading:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
            await self._reading
            self._process = None

    async def stop(self) -> None:
        """End it, whatever it does."""
        if self._process:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


class Run:
    """Everything of one run. ``go`` returns its report."""

    def __init__(self, asked: Asked, say: Callable[[str], None]) -> None:
        self._asked = asked
        self._say = say
        self._rng = random.Random(asked.seed)  # noqa: S311  # faults that can be repeated, no secret
        self._oracle = Oracle()
        self._injuries: list[Injury] = []
        self._busy: dict[str, str] = {}
        self._bag: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keys_most = 0
        self._stop = asyncio.Event()

    async def go(self) -> Report:
        """Start, hurt, ask, end. Called off, it ends everything and raises."""
        asked = self._asked
        async with AsyncExitStack() as stack:
            data_dir = Path(tempfile.mkdtemp(prefix="chaos-"))
            stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
            network = Network() if "cut" in asked.faults else None
            if network:
                network.open()
                stack.callback(network.close)
            prepare_environment()
            self._site = Site(nodes(), _STORE_MB, network)
            stack.callback(self._site.stop)
            self._say("starting Ray")
            address = self._site.start()
            working = [name for name in self._site.machines if not name.startswith("extra")]
            for name in working:
                await self._site.power_on(name)
            pools = PoolRules(cpu_threshold_percent=101, memory_threshold_percent=101)
            settings = default_settings(address=address, data_dir=data_dir, pools=pools)
            self._say("starting the scheduler")
            scheduler = await stack.enter_async_context(running(settings, RunOptions(address=address)))
            await scheduler.wait_for_nodes(len(working))
            return await self._under_load(settings, scheduler, address)

    async def _under_load(self, settings: Settings, scheduler: Scheduler, address: str) -> Report:
        asked = self._asked
        async with AsyncExitStack() as stack:
            store_before = object_store_stats()
            self._began_s = time.monotonic()
            self._watch = Watch(scheduler, self._began_s)
            per_speaker = asked.per_s / (_SPEAKERS + 1)
            submitters = SubmitterProcesses(address, self._rng, per_speaker, self._oracle)
            self._submitters = submitters
            self._environment = Environment(self._site, scheduler, self._watch, submitters, settings, self._rng)
            stack.push_async_callback(self._end_tasks)
            self._begin(self._watch.run())
            self._begin(self._count_keys(settings))
            stack.push_async_callback(submitters.stop)
            await submitters.start()
            through_the_store = settings.model_copy(update={"client": ClientRules(inline_bytes=0)})
            self._probe = await stack.enter_async_context(self._speaker("probe", settings))
            speakers = [
                await stack.enter_async_context(self._speaker(f"speaker-{n}", settings if n % 2 else through_the_store))
                for n in range(1, _SPEAKERS + 1)
            ]
            speaking = [self._begin(speaker.speak(per_speaker, self._stop)) for speaker in speakers]
            stack.enter_context(burning(asked.burn))
            self._say(f"{asked.per_s:.0f} utterances a second for {asked.seconds:.0f} s")
            await self._hurt()
            took_s = time.monotonic() - self._began_s
            self._say("waiting for what is still to come")
            self._stop.set()
            await asyncio.gather(*speaking)
            await self._finish([self._probe, *speakers], submitters)
            left = await self._rest([self._probe, *speakers], scheduler, store_before)
            n_keys = await self._forget(scheduler, settings)
            return await self._report(scheduler, [self._probe, *speakers], left, n_keys, took_s)

    @asynccontextmanager
    async def _speaker(self, name: str, settings: Settings) -> AsyncIterator[Speaker]:
        rng = random.Random(self._rng.randrange(2**31))  # noqa: S311  # a load that can be repeated, no secret
        speaker = Speaker(name, settings, rng, self._oracle.handle)
        async with speaker.client:
            yield speaker

    # --- hurting ---------------------------------------------------------------------------------------------------

    async def _hurt(self) -> None:
        """A fault every so often, each watched until all is whole again."""
        asked = self._asked
        suffering: list[asyncio.Task[Any]] = []
        end_s = self._began_s + asked.seconds
        next_s = self._began_s + asked.every_s
        while next_s < end_s:
            await asyncio.sleep(max(next_s - time.monotonic(), 0))
            next_s += asked.every_s
            fault = self._next_fault()
            if fault:
                suffering.append(self._begin(self._suffer(*fault)))
        await asyncio.sleep(max(end_s - time.monotonic(), 0))
        await asyncio.gather(*suffering)

    def _next_fault(self) -> tuple[str, Fault] | None:
        """The next kind in the bag that finds somebody to hurt; each kind comes once before any comes again."""
        if not self._asked.faults:
            return None
        if len(self._bag) < len(self._asked.faults):
            self._bag += self._rng.sample(self._asked.faults, len(self._asked.faults))
        for kind in list(self._bag):
            fault = self._make(kind)
            if fault:
                self._bag.remove(kind)
                return kind, fault
        return None

    def _make(self, kind: str) -> Fault | None:
        """A fault of this kind, if there is a target that is whole."""
        if kind in NODE_FAULTS:
            harmed = [target for target in self._busy if target in self._site.machines]
            targets = self._ready(lambda name: not name.startswith("extra"))
            if len(harmed) >= _MOST_HARMED or not targets:
                return None
            return NODE_FAULTS[kind](self._environment, self._rng.choice(targets))
        if kind == "kill-engine":
            targets = self._ready(lambda name: name.startswith("process"))
            return KillEngine(self._environment, self._rng.choice(targets)) if targets else None
        if kind == "add":
            idle = [name for name in self._site.machines if name.startswith("extra") and name not in self._busy]
            return Add(self._environment, self._rng.choice(idle)) if idle else None
        if kind in ACTOR_FAULTS:
            target = ACTOR_FAULTS[kind]
            return None if target in self._busy else KillActor(self._environment, target)
        cls, target = OTHER_FAULTS[kind]
        is_there = target != "submitter" or self._submitters.is_speaking
        return cls(self._environment, target) if target not in self._busy and is_there else None

    def _ready(self, is_one: Callable[[str], bool]) -> list[str]:
        names = [name for name in self._site.machines if is_one(name) and name not in self._busy]
        return [name for name in names if self._watch.status_of(name) == "ready"]

    async def _suffer(self, kind: str, fault: Fault) -> None:
        """One fault from its harm until all is whole."""
        began_s = time.monotonic()
        beside = tuple(f"{other} of {target}" for target, other in self._busy.items())
        injury = Injury(kind=kind, target=fault.target, at_s=round(began_s - self._began_s, 1), beside=beside)
        self._injuries.append(injury)
        self._busy[fault.target] = kind
        if isinstance(fault, NodeFault):
            self._watch.alarms.harm(fault.target)
        try:
            await self._measure(injury, fault, began_s)
        except Exception as error:  # noqa: BLE001  # a fault that cannot be done is a finding, not the end of the run
            self._say(f"{kind} of {fault.target} went wrong: {type(error).__name__}: {error}")
        if isinstance(fault, Add):
            await fault.leave()
        self._watch.alarms.repaired(fault.target, time.monotonic())
        del self._busy[fault.target]

    async def _measure(self, injury: Injury, fault: Fault, began_s: float) -> None:
        watch = self._watch
        await fault.harm()
        if fault.counts_from == "after":
            began_s = time.monotonic()
        noticing = self._begin(watch.until(fault.is_noticed, fault.lasts_s + _NOTICE_S))
        losing = self._begin(watch.until(fault.is_lost, fault.lasts_s)) if isinstance(fault, NodeFault) else None
        await asyncio.sleep(fault.lasts_s)
        over_s = time.monotonic() if fault.lasts_s else began_s
        await fault.heal()
        injury.detect_ms = _ms(began_s, await noticing)
        if losing and fault.lasts_s:
            injury.lost_ms = _ms(began_s, await losing)
        whole_s = await watch.until(fault.is_whole, _WHOLE_S)
        if whole_s is not None:
            async with asyncio.timeout(_WHOLE_S):
                await self._probe.probe()
            injury.recover_ms = _ms(over_s, time.monotonic())
        self._say(
            f"{injury.kind} of {injury.target}: noticed after {injury.detect_ms} ms, whole after {injury.recover_ms} ms"
        )

    # --- the end ---------------------------------------------------------------------------------------------------

    async def _finish(self, speakers: Sequence[Speaker], submitters: SubmitterProcesses) -> None:
        for speaker in speakers:
            speaker.hush()
        try:
            async with asyncio.timeout(_FINISH_S):
                await submitters.finish()
                for speaker in speakers:
                    await speaker.finish()
        except TimeoutError:
            self._say(f"{len(self._oracle.owed())} outcomes did not come in {_FINISH_S:.0f} s")

    async def _rest(self, speakers: Sequence[Speaker], scheduler: Scheduler, before: StoreStats) -> Leftovers:
        """What is held once nothing moves any more."""
        give_up_s = time.monotonic() + _REST_S
        while True:
            left = await self._leftovers(speakers, scheduler, before)
            if left == Leftovers() or time.monotonic() > give_up_s:
                return left
            await asyncio.sleep(0.25)

    async def _leftovers(self, speakers: Sequence[Speaker], scheduler: Scheduler, before: StoreStats) -> Leftovers:
        view, rows = await scheduler.status(), await scheduler.nodes()
        ready = [row for row in rows if row.status == "ready"]
        unoffered = max(sum(row.slots for row in ready) - view.slots, 0)
        stats = await asyncio.to_thread(object_store_stats)
        n_acquired = sum(row.acquired for row in ready)
        return Leftovers(
            waiting=view.waiting,
            slots=max(view.spent_slots, sum(row.running for row in ready), n_acquired) + unoffered,
            ledger_bytes=sum(speaker.client.ledger.bytes_in() for speaker in speakers),
            agent_bytes=sum(row.audio_bytes + row.speech_bytes for row in ready),
            store_bytes=audio_bytes_left(before, stats),
        )

    async def _forget(self, scheduler: Scheduler, settings: Settings) -> int:
        self._open_orphans = []
        for job_id in self._oracle.orphans():
            explained = await scheduler.jobs(JobFilter(statuses=("pending", "assigned", "processing")), 10_000)
            if job_id in {view.job_id for view in explained}:
                self._open_orphans.append(job_id)
        await scheduler.cleanup(0)
        return _keys_in_redis(settings)

    async def _count_keys(self, settings: Settings) -> None:
        while True:
            await asyncio.sleep(2)
            with contextlib.suppress(redis.RedisError, ValueError):  # it is away, or just being started
                n_keys = await asyncio.to_thread(_keys_in_redis, settings)
                self._keys_most = max(self._keys_most, n_keys)

    async def _report(
        self, scheduler: Scheduler, speakers: Sequence[Speaker], left: Leftovers, n_keys: int, took_s: float
    ) -> Report:
        harmed = {it.target for it in self._injuries}
        verdict = self._oracle.verdict(harmed, self._open_orphans)
        view = await scheduler.status()
        alarms = self._watch.alarms
        n_allowed = len(Keys("x").fixed_types()) + len(_WRITERS) + len(self._site.machines)
        kinds = sorted({it.kind for it in self._injuries})
        return Report(
            seed=self._asked.seed,
            seconds=round(took_s, 1),
            jobs=len(self._oracle.taken),
            completed=sum(not end.code for end in self._oracle.ended.values()),
            jobs_per_s=round(len(self._oracle.ended) / took_s, 1),
            lost=len(verdict.lost),
            duplicates=len(verdict.duplicates),
            out_of_order=len(verdict.out_of_order),
            leaked_slots=left.slots,
            leaked_bytes=left.ledger_bytes + left.agent_bytes + left.store_bytes,
            false_alarms=len(alarms.found),
            unrecovered=sum(it.recover_ms is None for it in self._injuries),
            keys_in_redis=n_keys,
            keys_allowed=n_allowed,
            keys_most=self._keys_most,
            gaps=self._oracle.n_gaps,
            late=self._oracle.n_late,
            refused=sum(speaker.n_refused for speaker in speakers),
            failovers=view.counters["requeued"],
            late_messages=view.counters["late_messages"],
            failures=dict(self._oracle.failures()),
            suspects=len(alarms.suspects),
            most_waiting=self._watch.most_waiting,
            faults={kind: FaultRow.of([it for it in self._injuries if it.kind == kind]) for kind in kinds},
            injuries=self._injuries,
            findings=findings_of(verdict, left, alarms.found, self._injuries, (n_keys, n_allowed)),
            machine=machine(),
            versions=versions(),
        )

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _ms(began_s: float, ended_s: float | None) -> int | None:
    return None if ended_s is None else round((ended_s - began_s) * 1000)


def _keys_in_redis(settings: Settings) -> int:
    (path,) = settings.data_dir.rglob("redis.sock")
    with redis.Redis(unix_socket_path=str(path), socket_timeout=2) as client:
        return sum(1 for _ in client.scan_iter(f"{settings.store.prefix}:*", count=1_000))


@contextlib.contextmanager
def burning(n_processes: int) -> Any:
    """So many processes burn a core each, at the ordinary niceness; they end with this one."""
    burners = [subprocess.Popen([sys.executable, "-c", _BURN]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()

"""Starting and stopping the scheduler: Redis, then the control actors in the order of the table, and back."""

import asyncio
import json
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from msgspec import Struct

from ray_sched.client.durations import milliseconds
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.views.explanation import Explanation, WaitingRow
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.jobs import ClusterView, JobView
from ray_sched.core.views.nodes import READY, NodeRow, PoolRow, what_is_lacking
from ray_sched.core.views.story_rows import Story, Told
from ray_sched.observe.samples import Sample
from ray_sched.settings import Settings
from ray_sched.system.ended import forget_end, note_end, was_ended
from ray_sched.system.ray_calls import call_ray
from ray_sched.wire.peers import Peer, PeerGoneError, PeerUnavailableError

if TYPE_CHECKING:
    from ray_sched.store.embedded import EmbeddedRedis

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 60.0
_POLL_S = 0.1
_LAST_RESULTS_S = 1.0
_ALL_REST_S = 5.0
"""When every node has been at a threshold for so long, waiting longer will not help."""


class Note(Struct, frozen=True, kw_only=True):
    """What ``up`` leaves in the data directory so that the other commands find it."""

    pid: int
    started_at_s: float
    """Creation time of the process: another process may get its number."""
    address: str
    namespace: str
    token: str
    """Of a local cluster that ``up`` started itself; the file is readable by its owner only."""

    @classmethod
    def path(cls, data_dir: Path) -> Path:
        """Where the note is."""
        return data_dir / "running.json"

    @classmethod
    def read(cls, data_dir: Path) -> "Note | None":
        """The note of an ``up`` that still runs, or None."""
        try:
            note = cls(**json.loads(cls.path(data_dir).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return note if note.is_alive() else None

    def is_alive(self) -> bool:
        """Whether the process that wrote it still runs; one that nobody has waited for yet has ended."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.started_at_s) < 1
            return is_it and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def write(self, data_dir: Path) -> None:
        """Leave the note."""
        data_dir.mkdir(parents=True, exist_ok=True)
        path = self.path(data_dir)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({name: getattr(self, name) for name in self.__struct_fields__}, file)

    @classmethod
    def remove(cls, data_dir: Path) -> None:
        """Take the note away."""
        cls.path(data_dir).unlink(missing_ok=True)


def own_note(address: str, namespace: str, token: str) -> Note:
    """The note of this process."""
    pid = os.getpid()
    created = psutil.Process(pid).create_time()
    return Note(pid=pid, started_at_s=created, address=address, namespace=namespace, token=token)


class Scheduler:
    """The running scheduler as its administrators see it. Needs a Ray connection (``connect_ray``)."""

    def __init__(self, settings: Settings) -> None:
        from ray_sched.system.ray_peers import RayDirectory  # noqa: PLC0415  # imports Ray, which reads its environment then

        self._settings = settings
        self.directory = RayDirectory(settings.namespace)

    # --- start and stop --------------------------------------------------------------------------------------------

    async def start(self, redis_url: str, *, is_embedded: bool) -> None:
        """Start the control actors. Raises SchedError if a scheduler runs in this namespace already."""
        import ray  # noqa: PLC0415

        from ray_sched.store.redis_store import open_store  # noqa: PLC0415  # no other command needs a store
        from ray_sched.system import processes  # noqa: PLC0415
        from ray_sched.system.table import DISPATCHER, REGISTRY, TIMER, ControlNode, make_actor  # noqa: PLC0415

        await self._clear_the_dead()
        await call_ray(forget_end, self._settings.namespace)
        store = await open_store(redis_url, self._settings.store.prefix, self._settings.store.timeout_ms / 1000)
        await store.close()
        control_node = ControlNode(ray.get_runtime_context().get_node_id(), is_embedded)
        settings, namespace, strategy = self._settings, self._settings.namespace, control_node.strategy()
        secret = secrets.token_bytes(32)  # lives with the actors: Ray gives it to a restarted one again
        args = (settings, redis_url, secret)
        make_actor(DISPATCHER, processes.DispatcherProcess, DISPATCHER, namespace, strategy, *args)
        try:
            more = (settings, redis_url, control_node, secret)
            make_actor(REGISTRY, processes.RegistryProcess, REGISTRY, namespace, strategy, *more)
            for name in (DISPATCHER, REGISTRY):
                await self._ask(name, "ping", within_s=_START_TIMEOUT_S)
            make_actor(TIMER, processes.TimerProcess, TIMER, namespace, strategy, settings)
        except BaseException:  # called off half-way too: no half of a scheduler stays
            await self.kill()
            raise

    async def _clear_the_dead(self) -> None:
        """Take away what an ``up`` that was killed has left; refuse to start beside one that works."""
        if not await self.is_running():
            return
        view = await self.status()
        if not view.store_error:
            raise SchedError(
                Code.INVALID_CONFIGURATION,
                f"a scheduler runs in namespace {self._settings.namespace!r} already; stop it with ray-sched down",
            )
        log.warning("a scheduler without its Redis is here; it is replaced")
        await self.kill()

    async def wait_for_nodes(
        self, n_nodes: int, timeout_s: float = _START_TIMEOUT_S, *, is_patient: bool = False
    ) -> None:
        """Wait until this many nodes are ready and their slots leased. Raises SchedError with what they lack.

        ``is_patient``: a node that is degraded may recover, so it is waited for as well.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        rests_since = None
        while True:
            rows = await self.nodes()
            ready = [row for row in rows if row.status == READY]
            if len(ready) >= n_nodes and (await self.status()).slots >= sum(row.slots for row in ready):
                return
            broken = [f"{row.node}: {row.why}" for row in rows if row.status == "degraded"]
            do_all_rest = len(ready) >= n_nodes and all(row.threshold for row in ready)
            rests_since = (rests_since or loop.time()) if do_all_rest else None
            is_vain = rests_since is not None and loop.time() - rests_since >= _ALL_REST_S
            if ((broken or is_vain) and not is_patient) or loop.time() >= give_up_at:
                lacking = "; ".join(broken) or what_is_lacking(rows, n_nodes, timeout_s)
                raise SchedError(Code.NO_AVAILABLE_NODE, lacking)
            await asyncio.sleep(_POLL_S)

    async def start_gateways(self, where: str, drain_s: float) -> list[str]:
        """Gateways that listen there; where each of them does. Raises SchedError."""
        from ray_sched.system.gateways import start_gateways  # noqa: PLC0415  # imports Ray

        return await start_gateways(self._settings, where, drain_s)

    async def stop(self, deadline_s: float) -> int:
        """Take no new jobs, let the running ones end, then end every actor. Returns the jobs that were left.

        Clients that are there have their last results by then: they take them at once; gone ones take nothing. What
        gateways are being asked is answered before.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + deadline_s
        await self._drain_gateways(deadline_s)
        leave_at = give_up_at
        while True:
            n_open, n_untaken = await self._ask("dispatcher", "drain")
            if not n_open:
                leave_at = min(leave_at, loop.time() + _LAST_RESULTS_S)
            if not (n_open or n_untaken) or loop.time() >= leave_at:
                break
            await asyncio.sleep(_POLL_S)
        await self.kill()
        return int(n_open)

    async def _drain_gateways(self, deadline_s: float) -> None:
        names = [
            name for name in await call_ray(_named_actors, self._settings.namespace) if name.startswith("gateway:")
        ]
        draining = [self.directory.peer(name).call("drain", timeout_s=deadline_s + _POLL_S) for name in names]
        for why in await asyncio.gather(*draining, return_exceptions=True):
            if why:
                log.warning("a gateway did not drain: %s", why)

    async def kill(self) -> None:
        """End every actor of this namespace: first those that would start others again."""
        from ray_sched.system.processes import kill_actor  # noqa: PLC0415

        namespace = self._settings.namespace
        await call_ray(note_end, namespace)
        names = await call_ray(_named_actors, namespace)
        first = [name for name in ("timer", "registry") if name in names]
        for name in [*first, *sorted(names - set(first))]:
            await call_ray(kill_actor, name, namespace)
        while await call_ray(_named_actors, namespace):  # noqa: ASYNC110  # Ray has no event for it
            await asyncio.sleep(_POLL_S)

    async def is_running(self) -> bool:
        """Whether there is a Dispatcher."""
        return "dispatcher" in await call_ray(_named_actors, self._settings.namespace)

    async def was_ended(self) -> bool:
        """Whether the scheduler that ran here was ended on purpose, by whomever."""
        return await call_ray(was_ended, self._settings.namespace)

    async def is_gone(self) -> bool:
        """Whether no actor of this namespace is left."""
        return not await call_ray(_named_actors, self._settings.namespace)

    # --- questions -------------------------------------------------------------------------------------------------

    async def status(self) -> ClusterView:
        """The whole in numbers."""
        view: ClusterView = await self._ask("dispatcher", "status")
        return view

    async def nodes(self) -> list[NodeRow]:
        """Every node."""
        rows: list[NodeRow] = await self._ask("registry", "nodes")
        return rows

    async def pools(self) -> list[PoolRow]:
        """Every pool."""
        rows: list[PoolRow] = await self._ask("registry", "pools")
        return rows

    async def metrics(self) -> list[Sample]:
        """What Dispatcher and Registry export."""
        of_dispatcher, of_registry = await self._ask("dispatcher", "metrics"), await self._ask("registry", "metrics")
        return [*of_dispatcher, *of_registry]

    async def jobs(self, wanted: JobFilter, limit: int = 50) -> list[JobView]:
        """The newest of these jobs."""
        views: list[JobView] = await self._ask("dispatcher", "jobs", wanted, limit)
        return views

    async def cancel(self, wanted: JobFilter) -> list[JobView]:
        """Cancel these jobs, whoever has submitted them. Returns those that had not ended."""
        views: list[JobView] = await self._ask("dispatcher", "cancel", wanted)
        return views

    async def explain(self, job_id: str, node: str = "") -> Explanation:
        """Why a job is where it is, and not on that node. Raises SchedError UNKNOWN_JOB or UNKNOWN_NODE."""
        explanation: Explanation = await self._ask("dispatcher", "explain", job_id, node)
        return explanation

    async def explain_all(self) -> list[WaitingRow]:
        """Why all that waits does, by reason."""
        rows: list[WaitingRow] = await self._ask("dispatcher", "explain_all")
        return rows

    async def story(self, told: Told) -> Story:
        """What has happened, of that what was said. Raises SchedError UNKNOWN_JOB."""
        story: Story = await self._ask("dispatcher", "story", told)
        return story

    async def dry_run(self, spec: JobSpec) -> Explanation:
        """What would become of such a job. Raises SchedError if there cannot be one."""
        explanation: Explanation = await self._ask("dispatcher", "dry_run", spec)
        return explanation

    async def drain_node(self, node: str, deadline_s: float | None) -> None:
        """Let a node finish and leave. Raises SchedError UNKNOWN_NODE."""
        deadline_ms = None if deadline_s is None else milliseconds(deadline_s, "a drain's deadline")
        await self._ask("registry", "drain", node, deadline_ms)

    async def undrain_node(self, node: str) -> None:
        """Give a drained node work again. Raises SchedError UNKNOWN_NODE."""
        await self._ask("registry", "undrain", node)

    async def cleanup(self, max_age_s: float) -> dict[str, int]:
        """Forget finished jobs at least this old: ``jobs``, ``record_bytes``, ``kept``."""
        removed: dict[str, int] = await self._ask("dispatcher", "cleanup", milliseconds(max_age_s, "an age"))
        return removed

    async def _ask(self, actor: str, method: str, *args: Any, within_s: float = _CALL_TIMEOUT_S) -> Any:
        """Ask a control actor; one that is being restarted is asked again, for ``within_s`` seconds in all."""
        peer: Peer = self.directory.peer(actor)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + within_s
        while True:
            try:
                return await peer.call(method, *args, timeout_s=max(give_up_at - loop.time(), _POLL_S))
            except PeerGoneError:
                raise SchedError(
                    Code.SCHEDULER_NOT_RUNNING,
                    f"no scheduler runs in namespace {self._settings.namespace!r}; start one with ray-sched up",
                ) from None
            except PeerUnavailableError as error:
                if loop.time() >= give_up_at:
                    raise SchedError(Code.SCHEDULER_NOT_RUNNING, f"the scheduler does not answer: {error}") from None
                await asyncio.sleep(_POLL_S)


def start_embedded_redis(settings: Settings) -> "EmbeddedRedis":
    """The embedded server on the data directory. Blocks until it answers; SchedError says what is in the way."""
    from ray_sched.store.embedded import EmbeddedRedis  # noqa: PLC0415  # as above

    return EmbeddedRedis().start(settings.data_dir, settings.store.appendfsync)


def _named_actors(namespace: str) -> set[str]:
    import ray.util  # noqa: PLC0415

    named = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in named if actor["namespace"] == namespace}

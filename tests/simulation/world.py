"""A whole world in virtual time: real brains, shells, agents and clients, and everything that can go wrong.

What may be lost, repeated or reordered is what the real wire may lose, repeat or reorder: calls fail on either way and
are made again, orders, offers and heartbeats just vanish, and one agent's reports keep their order. After
:meth:`World.heal` the network is good, engines behave and nobody crashes; whatever happened before, everything has
to come to its end.
"""

import random
from collections.abc import Callable

from ray_sched.core.effects import CleanupDue, OrderAgent
from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.client_dispatcher import Assigned, JobSpec
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.nodes.declarations import RayNode
from tests.simulation import oracle
from tests.simulation.agent import POISON, SPEECH_TTL_MS, Agent
from tests.simulation.client import Client
from tests.simulation.dispatcher import Dispatcher
from tests.simulation.network import Network, Reply
from tests.simulation.node_registry import Registry

KINDS: dict[str, dict[str, str]] = {
    "en": {"asr": "en"},
    "es": {"asr": "en", "mt": "en_es", "tts": "es"},
    "acme": {"asr": "en", "tenant": "acme"},
}


class RefutedError(AssertionError):
    """The oracle says no. ``job_id``: the job concerned, or nothing."""

    def __init__(self, what: str, job_id: str = "") -> None:
        super().__init__(f"{what}{f' (job {job_id})' if job_id else ''}")
        self.job_id = job_id


class World:
    """All of it together. ``is_wild`` until it is healed."""

    def __init__(self, seed: int, *, drop: float = 0.15, repeat: float = 0.1, is_traced: bool = False) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # a replayable world, no secret
        self.net = Network(self.rng, drop, repeat)
        self.is_wild = True
        self.is_traced = is_traced
        self.notes: list[tuple[int, str, str]] = []
        """Time, job or nothing, what happened."""
        self.ray_nodes: dict[str, RayNode] = {}
        self.agents: dict[str, Agent] = {}
        self.others: list[Agent] = []
        """Dead agents, and frozen ones whose name another one has."""
        self.dispatcher = Dispatcher(self)
        self.registry = Registry(self)
        self.clients = [Client(self, f"c{n}") for n in range(2)]
        self.n_killed_unheard: dict[str, int] = {}
        """Those of them that died before the Dispatcher had heard that the job had begun there."""
        self.n_killed: dict[str, int] = {}
        """Agents that died of a job, by job."""
        self.n_starts: dict[AttemptKey, int] = {}
        """How often each attempt was started, on any agent."""
        self.served_ms: dict[str, int] = {}
        """Audio of assignments by tenant."""
        self._n_joined = 0
        self.net.every(250, self.registry.look)
        self.net.every(500, self.registry.tick)
        self.net.every(200, self.dispatcher.tick)
        self.net.every(20_000, lambda: self.dispatcher.handle(CleanupDue(60_000)))

    def note(self, job_id: str, what: str) -> None:
        """Remember what happened, if this world is traced."""
        if self.is_traced:
            self.notes.append((self.net.now_ms, job_id, what))

    def expect(self, is_so: bool, what: str, job_id: str = "") -> None:  # noqa: FBT001  # reads like assert
        """Raise a RefutedError otherwise."""
        if not is_so:
            raise RefutedError(what, job_id)

    @property
    def n_submitted(self) -> int:
        """How many jobs there ever were."""
        return sum(len(client.wants) for client in self.clients)

    @property
    def n_names(self) -> int:
        """How many machines there ever were."""
        return self._n_joined

    def count_killed(self, job_id: str) -> None:
        """An agent dies of a job."""
        self.n_killed[job_id] = self.n_killed.get(job_id, 0) + 1
        job = self.dispatcher.brain.jobs.get(job_id)
        if job and job.status is not JobStatus.PROCESSING:
            self.n_killed_unheard[job_id] = self.n_killed_unheard.get(job_id, 0) + 1

    def commit_ms(self) -> int:
        """How long a commit takes: until the store is back; almost nothing; or while wild now and then much longer."""
        away_ms = self.dispatcher.disk.is_away_until_ms - self.net.now_ms
        if away_ms > 0:
            return away_ms
        if not self.is_wild or self.rng.random() < 0.93:
            return 0
        return self.rng.choice([3, 30, 300, 2_000])

    # --- what can happen

    def join(self, kind: str = "en", slots: int = 2) -> str:
        """One more machine."""
        self._n_joined += 1
        name = f"node-{self._n_joined}"
        labels = {"engine": "echo", "slots": str(slots), "node": name} | KINDS[kind]
        self.ray_nodes[name] = RayNode(
            ray_node_id=f"ray-{name}", labels={f"ray-sched.io/{key}": value for key, value in labels.items()}
        )
        return name

    def leave(self, name: str) -> None:
        """A machine is switched off."""
        self.note("", f"{name} is switched off")
        self.ray_nodes.pop(name, None)
        self._end(f"agent:{name}")

    def crash(self, name: str) -> None:
        """An agent's process dies."""
        self.note("", f"the agent of {name} crashes")
        self._end(f"agent:{name}")

    def freeze(self, name: str) -> None:
        """An agent freezes for a while, short or long; perhaps it is cut off, so that nobody can end it."""
        agent = self.agents.get(f"agent:{name}")
        if agent and not agent.is_frozen:
            self.note("", f"the agent of {name} freezes")
            agent.is_cut_off = self.rng.random() < 0.5
            agent.freeze(self.rng.choice([800, 2_000, 5_000, 12_000]))

    def cut(self, name: str) -> None:
        """The network of a node is cut for a while, in one direction or in both."""
        agent = self.agents.get(f"agent:{name}")
        if agent and not (agent.is_deaf or agent.is_mute):
            is_deaf, is_mute = self.rng.choice([(True, True), (True, False), (False, True)])
            self.note("", f"the agent of {name} is cut off: deaf {is_deaf}, mute {is_mute}")
            agent.cut(self.rng.choice([800, 2_000, 5_000, 12_000]), is_deaf=is_deaf, is_mute=is_mute)

    def lose_store(self) -> None:
        """Redis is away for a while; perhaps it comes back with nothing in it."""
        disk = self.dispatcher.disk
        if self.net.now_ms < disk.is_away_until_ms or disk.is_emptied_for:
            return
        away_ms = self.rng.choice([100, 1_000, 5_000])
        disk.is_away_until_ms = self.net.now_ms + away_ms
        is_emptied = self.dispatcher.is_quiet and self.registry.is_up and self.rng.random() < 0.5
        self.note("", f"the store is away for {away_ms} ms{', and then empty' if is_emptied else ''}")
        if is_emptied:
            disk.empty()

    def count_start(self, key: AttemptKey) -> None:
        """An agent has started an attempt."""
        self.n_starts[key] = self.n_starts.get(key, 0) + 1
        self.expect(self.n_starts[key] == 1, f"attempt {key[1]} was started {self.n_starts[key]} times", key[0])

    def count_served(self, job_id: str) -> None:
        """A job is assigned."""
        job = self.dispatcher.brain.jobs.get(job_id)
        if job:
            tenant = job.spec.tenant
            self.served_ms[tenant] = self.served_ms.get(tenant, 0) + job.spec.audio_ms

    def was_given_up(self, job_id: str) -> bool:
        """Whether the Dispatcher has ended this job since its client seemed to be gone, or has forgotten it."""
        job = self.dispatcher.brain.jobs.get(job_id)
        error = job.outcome.error if job and job.outcome else None
        return job is None or (error is not None and error.code is Code.CLIENT_GONE)

    def drain(self, name: str) -> None:
        """Somebody drains a node."""
        self.note("", f"{name} is drained")
        self.registry.drain(name)

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        self.net.run(duration_ms)

    def heal(self) -> None:
        """From now on all is well: nodes for everything, and everybody who lives is awake."""
        self.note("", "the world heals")
        self.is_wild = False
        self.net.drop = self.net.repeat = 0.0
        self.dispatcher.crash_no_more()
        for kind in KINDS:
            self.join(kind)
        for client in self.clients:
            client.is_asleep = client.is_dead

    def finish(self) -> None:
        """Heal, run time forward until nobody waits, and a while longer."""
        self.heal()
        for _ in range(60):
            self.run(2_000)
            oracle.check(self)
            if all(want.is_over for client in self.clients for want in client.wants.values() if not client.is_dead):
                break
        self.run(SPEECH_TTL_MS + 15_000)
        for _ in range(
            10
        ):  # a node that has become ready only now, after a start that timed out, is offered in a moment
            if oracle.are_ready_nodes_offered(self):
                break
            self.run(500)
        oracle.check(self)
        oracle.check_the_end(self)

    # --- who carries what to whom

    def push(self, event: Assigned, spec: JobSpec, reply: Reply[str | None]) -> None:
        """A client's push: why not, or empty; None if there is no agent."""
        agent = self.agents.get(event.agent)
        if agent:
            agent.push(event.job_id, event.attempt, spec, event.incarnation, reply)
        else:
            reply(None)

    def fetch_speech(self, name: str, key: tuple[str, int], reply: Reply[bool]) -> None:
        """A client fetches speech."""
        agent = self.agents.get(name)
        if agent:
            agent.fetch_speech(key, reply)
        else:
            reply(False)

    def order(self, effect: OrderAgent) -> None:
        """The Dispatcher's order, that may be lost."""

        def arrive() -> None:
            agent = self.agents.get(effect.agent)
            if agent:
                agent.handle_order(effect.incarnation, effect.order)

        self.net.post(arrive)

    def stop_agent(self, name: str) -> None:
        """End the agent of this name. One that is frozen and cut off lives on without its name."""
        agent = self.agents.get(name)
        if agent and (agent.is_deaf or (agent.is_frozen and agent.is_cut_off)):
            self.others.append(self.agents.pop(name))
        else:
            self._end(name)

    def end_agent(self, agent: Agent) -> None:
        """An agent ends itself."""
        if self.agents.get(f"agent:{agent.node}") is agent:
            self._end(f"agent:{agent.node}")
        else:
            agent.die()

    def _end(self, name: str) -> None:
        agent = self.agents.pop(name, None)
        if agent:
            agent.die()
            self.others.append(agent)


def act(world: World) -> None:
    """One thing happens, by the world's own chance."""
    rng = world.rng
    client = rng.choice(world.clients)
    nodes = sorted(world.ray_nodes)
    node = rng.choice(nodes) if nodes else ""
    faults: list[tuple[float, Callable[[], object]]] = [
        (0.53, lambda: submit_something(world, client)),
        (0.01, lambda: submit_a_lot(world, client)),
        (0.02, lambda: world.cut(node)),
        (0.01, world.lose_store),
        (0.05, lambda: client.cancel(rng.choice(list(client.wants.values()))) if client.wants else None),
        (0.07, lambda: world.join(rng.choice(sorted(KINDS)))),
        (0.05, lambda: world.crash(node)),
        (0.03, lambda: world.leave(node)),
        (0.04, lambda: world.freeze(node)),
        (0.03, lambda: world.drain(node)),
        (0.02, lambda: _sleep_or_wake(client)),
        (0.004, client.die),
        (0.02, world.dispatcher.crash_soon),
        (0.01, world.dispatcher.crash),
        (0.02, world.registry.crash),
        (0.02, lambda: world.registry.crash_pool(rng.choice([*world.registry.pools, ""]))),
        (0.03, lambda: client.abandon(rng.choice(list(client.wants.values()))) if client.wants else None),
        (0.05, lambda: client.submit_again(rng.choice(list(client.wants.values()))) if client.wants else None),
    ]
    die = rng.random()
    for chance, happens in faults:
        die -= chance
        if die < 0:
            happens()
            return


def _sleep_or_wake(client: Client) -> None:
    client.is_asleep = client.is_dead or not client.is_asleep
    client.is_blocked = client.world.rng.random() < 0.5  # else the whole process is asleep


def submit_a_lot(world: World, client: Client) -> None:
    """More than the nodes can do for a while, and perhaps more than may wait."""
    for _ in range(60):
        submit_something(world, client)


def submit_something(world: World, client: Client) -> None:
    """A transcription or a spoken translation, in a session or not."""
    if client.is_dead:
        return
    die = world.rng.random()
    session = world.rng.choice(["", "s1", "s2"])
    tenant = "acme" if world.rng.random() < 0.2 else ""
    if die < 0.3:
        client.submit(tgt="es", services=("asr", "mt", "tts"), session=session, tenant=tenant)
    elif die < 0.31:
        client.submit(session=session, name=POISON)
    else:
        client.submit(session=session, tenant=tenant, wants_partials=world.rng.random() < 0.5)


def run_world(
    seed: int, *, n_steps: int = 80, drop: float = 0.15, repeat: float = 0.1, is_traced: bool = False
) -> World:
    """A whole life of a world: things happen, all heals, everything ends. Raises RefutedError otherwise.

    Of ten seeds one is a calm world that has too much to do, and one a calm world with poison in it.
    """
    live = {4: live_with_too_much, 9: live_with_poison}.get(seed % 10)
    world = World(seed, drop=0.0 if live else drop, repeat=0.0 if live else repeat, is_traced=is_traced)
    try:
        if live:
            world.is_wild = False
            live(world)
        else:
            for kind in KINDS:
                world.join(kind)
            for _ in range(n_steps):
                act(world)
                world.run(world.rng.randint(1, 600))
                oracle.check(world)
        world.finish()
    except Exception as error:
        error.add_note(f"seed {seed}\n{story(world, error)}")
        raise
    return world


def live_with_too_much(world: World) -> None:
    """Two tenants always have jobs waiting, one of them four times as many: each gets half of what there is."""
    rng = world.rng
    for _ in range(rng.randint(1, 3)):
        world.join("en", slots=rng.randint(1, 4))
    world.run(3_000)
    greedy, modest = world.clients
    for n in range(4):
        for client, tenant, most in ((greedy, "zeta", 12), (modest, "beta", 3)):
            for _ in range(rng.randint(1, most)):
                client.submit(session=f"s{n}" if client is greedy or n == 0 else "", tenant=tenant)
    world.served_ms.clear()
    for _ in range(rng.randint(10, 40)):
        for client, tenant, least in ((greedy, "zeta", 20), (modest, "beta", 4)):
            n_waiting = world.dispatcher.brain.waiting.shares.tenants.waiting((tenant,))
            for _ in range(least - n_waiting + 4):
                client.submit(session=f"s{rng.randint(0, 3)}", tenant=tenant, deadline_ms=600_000)
        world.run(rng.randint(50, 300))
        oracle.check(world)
        oracle.both_have_the_same(world, "zeta", "beta")


def live_with_poison(world: World) -> None:
    """Poison among innocents: it is failed after two or three agents, and they all come to their end."""
    rng = world.rng
    slots = rng.choice([1, 1, 2, 3])
    for _ in range(rng.randint(2, 4)):
        world.join("en", slots=slots)
    world.run(3_000)
    n_poison = rng.randint(1, 2)
    names = [POISON] * n_poison + [""] * rng.randint(0, 8)
    rng.shuffle(names)
    for name in names:
        rng.choice(world.clients).submit(name=name, deadline_ms=600_000)
        world.run(rng.randint(1, 400))
        oracle.check(world)
    for _ in range(60):
        world.run(1_000)
        oracle.check(world)
    oracle.poison_is_found(world, n_most=2 if slots == 1 else 3)  # one more where it may never have run alone


def story(world: World, error: Exception, n_lines: int = 60) -> str:
    """What happened to the job concerned, and to the world meanwhile."""
    job_id = getattr(error, "job_id", "")
    lines = [f"{at_ms - 1_000_000:>8} {what}" for at_ms, about, what in world.notes if about in {"", job_id}]
    return "\n".join(lines[-n_lines:])

"""A whole world in virtual time: real brains, shells, agents and clients, and everything that can go wrong.

What may be lost, repeated or reordered is what the real wire may lose, repeat or reorder: calls fail on either way and
are made again, orders, offers and heartbeats just vanish, and one agent's reports keep their order. After
:meth:`World.heal` the network is good, engines behave and nobody crashes; whatever happened before, everything has
to come to its end.
"""

import random
from collections.abc import Callable

from ray_sched.core.effects import CleanupDue, OrderAgent, Swept
from ray_sched.core.messages import Assigned, JobSpec
from ray_sched.core.registry import RayNode
from tests.simulation import oracle
from tests.simulation.agent import SPEECH_TTL_MS, Agent
from tests.simulation.client import Client
from tests.simulation.dispatcher import Dispatcher
from tests.simulation.network import Network, Reply
from tests.simulation.node_registry import Registry

KINDS: dict[str, dict[str, str]] = {
    "en": {"asr": "en"},
    "es": {"asr": "en", "mt": "en_es", "tts": "es"},
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
        self.n_submitted = 0
        self._n_joined = 0
        self.net.every(250, self.registry.look)
        self.net.every(500, self.registry.tick)
        self.net.every(200, lambda: self.dispatcher.hear(Swept()))
        self.net.every(20_000, lambda: self.dispatcher.hear(CleanupDue(60_000)))

    def note(self, job_id: str, what: str) -> None:
        """Remember what happened, if this world is traced."""
        if self.is_traced:
            self.notes.append((self.net.now_ms, job_id, what))

    def expect(self, is_so: bool, what: str, job_id: str = "") -> None:  # noqa: FBT001  # reads like assert
        """Raise a RefutedError otherwise."""
        if not is_so:
            raise RefutedError(what, job_id)

    @property
    def n_names(self) -> int:
        """How many machines there ever were."""
        return self._n_joined

    def commit_ms(self) -> int:
        """How long a commit takes: almost nothing, or while wild now and then much longer."""
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

    def take_speech(self, name: str, key: tuple[str, int], reply: Reply[bool]) -> None:
        """A client fetches speech."""
        agent = self.agents.get(name)
        if agent:
            agent.take_speech(key, reply)
        else:
            reply(False)

    def order(self, effect: OrderAgent) -> None:
        """The Dispatcher's order, that may be lost."""

        def arrive() -> None:
            agent = self.agents.get(effect.agent)
            if agent:
                agent.obey(effect.incarnation, effect.order)

        self.net.post(arrive)

    def stop_agent(self, name: str) -> None:
        """End the agent of this name. One that is frozen and cut off lives on without its name."""
        agent = self.agents.get(name)
        if agent and agent.is_frozen and agent.is_cut_off:
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
        (0.58, lambda: submit_something(world, client)),
        (0.05, lambda: client.cancel(rng.choice(list(client.wants.values()))) if client.wants else None),
        (0.06, lambda: world.join(rng.choice(sorted(KINDS)))),
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
    ]
    die = rng.random()
    for chance, happens in faults:
        die -= chance
        if die < 0:
            happens()
            return


def _sleep_or_wake(client: Client) -> None:
    client.is_asleep = client.is_dead or not client.is_asleep


def submit_something(world: World, client: Client) -> None:
    """A transcription or a spoken translation, in a session or not."""
    if client.is_dead:
        return
    world.n_submitted += 1
    session = world.rng.choice(["", "s1", "s2"])
    if world.rng.random() < 0.3:
        client.submit(tgt="es", services=("asr", "mt", "tts"), session=session)
    else:
        client.submit(session=session, wants_partials=world.rng.random() < 0.5)


def run_world(
    seed: int, *, n_steps: int = 80, drop: float = 0.15, repeat: float = 0.1, is_traced: bool = False
) -> World:
    """A whole life of a world: things happen, all heals, everything ends. Raises RefutedError otherwise."""
    world = World(seed, drop=drop, repeat=repeat, is_traced=is_traced)
    for kind in KINDS:
        world.join(kind)
    try:
        for _ in range(n_steps):
            act(world)
            world.run(world.rng.randint(1, 600))
            oracle.check(world)
        world.finish()
    except Exception as error:
        error.add_note(f"seed {seed}\n{story(world, error)}")
        raise
    return world


def story(world: World, error: Exception, n_lines: int = 60) -> str:
    """What happened to the job concerned, and to the world meanwhile."""
    job_id = getattr(error, "job_id", "")
    lines = [f"{at_ms - 1_000_000:>8} {what}" for at_ms, about, what in world.notes if about in {"", job_id}]
    return "\n".join(lines[-n_lines:])

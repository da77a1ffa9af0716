"""What has to hold, at any moment and when everything has ended."""

from collections import Counter
from typing import TYPE_CHECKING

from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobStatus, from_record
from ray_sched.core.ledger import AudioState
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.queue.fair_shares import QUANTUM_MS
from tests.simulation.agent import POISON, SPEECH_BYTES

if TYPE_CHECKING:
    from tests.simulation.agent import Agent
    from tests.simulation.client import Client
    from tests.simulation.world import World

_ON_A_NODE = frozenset({JobStatus.ASSIGNED, JobStatus.PROCESSING})


def check(world: "World") -> None:
    """All that must hold at any moment."""
    never_two_live_attempts(world)
    never_oversold(world)
    ledger_adds_up(world)
    disk_is_bounded(world)


def _alive(world: "World") -> "list[Agent]":
    return [*world.agents.values(), *(agent for agent in world.others if agent.is_alive)]


def never_two_live_attempts(world: "World") -> None:
    """An attempt runs on one node at most; a job is on a node exactly if its state says so."""
    where = Counter(key for agent in _alive(world) for key in agent.running)
    for key, count in where.items():
        world.expect(count == 1, f"attempt {key[1]} runs {count} times", key[0])
    for job in world.dispatcher.brain.jobs.values():
        is_right = job.is_terminal or (job.status in _ON_A_NODE) == bool(job.node)
        world.expect(is_right, f"{job.status} on {job.node!r}", job.job_id)


def never_oversold(world: "World") -> None:
    """No agent runs more than its slots or was ever brought more, and all it runs holds a slot in the brain."""
    for agent in [*world.agents.values(), *world.others]:
        world.expect(len(agent.running) <= agent.slots, f"{agent.node} runs more than its slots")
        world.expect(agent.brain.refused_because_full == 0, f"{agent.node} was brought more than its slots")
        node_state = world.dispatcher.brain.node_states.get(agent.node)
        if node_state and node_state.incarnation == agent.incarnation and world.dispatcher.is_up:
            for job_id, attempt in set(agent.running) - set(node_state.attempts()):
                world.expect(False, f"attempt {attempt} runs on {agent.node} and holds no slot", job_id)
            world.expect(node_state.n_free + node_state.n_acquired <= agent.slots, f"{agent.node} has too many leases")


def ledger_adds_up(world: "World") -> None:
    """Every byte is in one state: the ledgers say what is really in memory, on its way and on the nodes."""
    for client in world.clients:
        client_ledger_adds_up(world, client)
    for agent in world.agents.values():
        running_bytes = sum(spec.audio_ms * 32 for spec in agent.running.values())
        held = (running_bytes, len(agent.speech) * SPEECH_BYTES)
        told = tuple(agent.brain.ledger.bytes_in(state) for state in (AudioState.RUNNING, AudioState.SPOKEN))
        world.expect(told == held, f"{agent.node} holds (audio, speech) of {held} bytes, its ledger says {told}")
        world.expect(agent.brain.running == [*agent.running], f"{agent.node}: brain and engine run different attempts")


def client_ledger_adds_up(world: "World", client: "Client") -> None:
    """One entry for each job: STORED while a copy of its audio is on its way, else HELD while one is in memory."""
    stored = held = n_entries = 0
    for number, want in client.wants.items():
        n_pushed, n_copies = client.n_pushed[number], client.n_pushed[number] + client.n_read[number]
        is_kept = want.is_kept and not want.is_over
        n_entries += bool(n_copies) or not want.is_over
        if n_pushed:
            stored += want.n_bytes * n_copies
        else:
            held += want.n_bytes * max(n_copies, is_kept)
    ledger = client.ledger
    told = (ledger.bytes_in(AudioState.STORED), ledger.bytes_in(AudioState.HELD), ledger.bytes_in(), len(ledger))
    really = (stored, held, stored + held, n_entries)
    world.expect(told == really, f"{client.client_id}: bytes stored, held, in all, entries: {told}, really {really}")


def disk_is_bounded(world: "World") -> None:
    """Whenever nothing is on its way there, the disk holds what the brain knows, and nothing else."""
    dispatcher = world.dispatcher
    if dispatcher.is_quiet:
        differ = dispatcher.disk.jobs.keys() ^ dispatcher.brain.jobs.keys()
        world.expect(not differ, f"disk and brain differ: {sorted(differ)}")
        world.expect(len(dispatcher.disk.nodes) <= world.n_names, "nodes pile up on the disk")


def both_have_the_same(world: "World", one: str, other: str) -> None:
    """Of what is assigned while both wait, both get the same, give or take a quantum and what is on its way."""
    served = [world.served_ms.get(tenant, 0) for tenant in (one, other)]
    slots = sum(node_state.total_slots for node_state in world.dispatcher.brain.node_states.values())
    most = QUANTUM_MS + (slots + 2) * 2_000
    world.expect(abs(served[0] - served[1]) <= most, f"{one} and {other} were given {served} ms of audio")


def poison_is_found(world: "World", n_most: int) -> None:
    """Poison is failed after ``n_most`` agents that were heard to have it; nobody else is failed for it.

    Or because it had no attempt left, where its agent died before it was heard that the job had begun there.
    """
    n_poison = sum(job.spec.name == POISON for job in world.dispatcher.brain.jobs.values())
    for job in world.dispatcher.brain.jobs.values():
        error = job.outcome.error if job.outcome else None
        code = error.code if error else None
        killed = world.n_killed.get(job.job_id, 0)
        n_unheard = world.n_killed_unheard.get(job.job_id, 0)
        world.expect(killed <= n_most + n_unheard, f"it killed {killed} agents, {n_unheard} unheard", job.job_id)
        has_no_attempt_left = error is not None and "gave up after 4 attempts" in error.message
        if job.spec.name == POISON and has_no_attempt_left:
            continue
        is_right = (code is Code.POISON_JOB) == (job.spec.name == POISON)
        world.expect(is_right, f"{job.spec.name!r} ended {error}", job.job_id)
        is_enough = killed >= 2 or n_poison != 1 or job.spec.name != POISON  # two share each other's blame
        world.expect(is_enough, f"it was failed after {killed} agents", job.job_id)


def check_the_end(world: "World") -> None:
    """Everybody has one outcome, every slot is free, nothing waits, no byte is left, all can be forgotten."""
    every_job_has_one_outcome(world)
    every_slot_is_free(world)
    no_byte_is_left(world)
    all_can_be_forgotten(world)


def every_job_has_one_outcome(world: "World") -> None:
    """The one that the disk has is the one that was told, and the one that the user has."""
    brain = world.dispatcher.brain
    for job in brain.jobs.values():
        world.expect(job.is_terminal, f"still {job.status} at the end", job.job_id)
    world.expect((len(brain.waiting), brain.waiting.demands()) == (0, []), "somebody waits at the end")
    saved: dict[str, Job] = {job_id: from_record(record) for job_id, record in world.dispatcher.disk.jobs.items()}
    world.expect(set(saved) == set(brain.jobs), f"disk and brain differ: {set(saved) ^ set(brain.jobs)}")
    for client in world.clients:
        for want in client.wants.values():
            if client.is_dead:
                continue
            world.expect(want.is_over, f"{want.spec.request_id} has no result", want.job_id)
            if want.spec.name == POISON and want.delivered:
                status = want.delivered.outcome.status
                world.expect(not status.startswith("completed"), f"poison is {status}", want.job_id)
                n_most = 4 + _n_uncounted(brain.jobs.get(want.job_id))
                is_bounded = world.n_killed.get(want.job_id, 0) <= n_most
                world.expect(is_bounded, "it killed more agents than it may", want.job_id)
            record = saved.get(want.job_id)
            if record is not None and want.delivered:
                is_same = record.outcome == want.delivered.outcome
                world.expect(is_same, "the user has another outcome than the disk", want.job_id)
                world.expect(record.is_delivered, "delivered, and not known to be", want.job_id)


def _n_uncounted(job: Job | None) -> int:
    """Attempts that ended while the client was blocked: they are no failovers, though an agent may have died of one."""
    return len(job.attempts) - job.failovers - job.refusals if job else 0


def every_slot_is_free(world: "World") -> None:
    """No lease is acquired, none is gone."""
    node_states = world.dispatcher.brain.node_states
    for node_state in node_states.values():
        slots = (node_state.n_acquired, node_state.n_free, node_state.in_flight_ms)
        is_free = slots == (0, node_state.total_slots, 0)
        world.expect(
            is_free,
            f"{node_state.node}: (acquired, free, ms in flight) {slots}",
            next(iter(node_state.attempts()), ("",))[0],
        )
    world.expect(are_ready_nodes_offered(world), f"offered {sorted(node_states)}, nodes that are ready {_ready(world)}")

    nodes, ready = world.registry.brain.nodes, _ready(world)
    for agent in world.agents.values():
        is_current = nodes[agent.node].incarnation == agent.incarnation and agent.node in ready
        world.expect(is_current, f"{agent.node}.{agent.incarnation} lives and is not current")
        for job_id, attempt in agent.running:
            world.expect(False, f"attempt {attempt} still runs on {agent.node}", job_id)


def are_ready_nodes_offered(world: "World") -> bool:
    """Whether the Dispatcher knows each node that is ready, and no other."""
    return sorted(world.dispatcher.brain.node_states) == _ready(world)


def _ready(world: "World") -> list[str]:
    nodes = world.registry.brain.nodes
    return sorted(name for name, node in nodes.items() if node.status is NodeStatus.READY)


def no_byte_is_left(world: "World") -> None:
    """All ledgers are empty."""
    for client in world.clients:
        if not client.is_dead:
            left = (len(client.ledger), client.ledger.bytes_in())
            world.expect(left == (0, 0), f"{client.client_id} has {left} left")
    for agent in world.agents.values():
        for job_id, _ in [*agent.running, *agent.speech]:
            world.expect(False, f"bytes are left at {agent.node}", job_id)
        world.expect(len(agent.brain.ledger) == 0, f"the ledger of {agent.node} is not empty")


def all_can_be_forgotten(world: "World") -> None:
    """After clean-up neither brain, disk nor mailboxes keep anything of the jobs."""
    brain, disk = world.dispatcher.brain, world.dispatcher.disk
    world.dispatcher.cleanup()
    world.expect((brain.jobs, len(brain.ended)) == ({}, 0), "jobs are not forgotten")
    world.expect(disk.jobs == {}, f"on the disk for ever: {list(disk.jobs)}")
    world.expect(len(disk.nodes) <= world.n_names and set(disk.speeds) <= set(disk.nodes), "nodes pile up on the disk")
    stuck = [session.key for session in brain.sessions.values() if not session.is_idle]
    world.expect(stuck == [], f"sessions are stuck: {stuck}")
    live = {client.client_id for client in world.clients if not client.is_dead}
    world.expect(set(world.dispatcher.mailboxes) == live, f"mailboxes of {sorted(world.dispatcher.mailboxes)}")
    for client_id, mailbox in world.dispatcher.mailboxes.items():
        world.expect(len(mailbox.kept) <= 1, f"{client_id} does not take its mail")

"""Short ways to say what a placement is about: nodes with leases, a question, and the groups that nodes are in."""

from collections.abc import Iterable

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import DEFAULT_POLICY, Placement, PlacementPolicy
from ray_sched.core.placement.question import Question
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.rules import SelectionRules
from tests.support.builders import ENGLISH

DEMAND = Demand(src="en", tgt="en", services=("asr",))
RULES = SelectionRules()


def a_node_state(node: str = "node-a", slots: int = 2, capability: Capability = ENGLISH, busy: int = 0) -> NodeState:
    """A ready node whose slots are leased until 10 s, some of them busy with a job of a second each."""
    node_state = NodeState(node, 1, capability)
    node_state.why = None
    node_state.total_slots = slots
    node_state.lease(slots, 10_000)
    for number in range(busy):
        node_state.acquire((f"other-{number}", 1), 1_000)
    return node_state


def a_question(**changes: object) -> Question:
    """An English second of a job that nothing is known of."""
    facts: dict[str, object] = {"demand": DEMAND, "audio_ms": 1_000, "now_ms": 0, "rules": RULES, "tie_key": "j1/1"}
    facts |= {"speeds": SpeedBook(RULES)}
    question = {"pair": "en:en"} | facts | changes
    return Question(**question)  # type: ignore[arg-type]


def groups_of(node_states: Iterable[NodeState]) -> Groups:
    """Groups with these nodes in them, and nobody who waits."""
    groups = Groups(lambda _demand: None, list)
    for node_state in node_states:
        groups.add(node_state)
    return groups


def place(node_states: Iterable[NodeState], q: Question, policy: PlacementPolicy = DEFAULT_POLICY) -> Placement:
    """What a policy says of these nodes, with all reasons and scores."""
    return policy.place(q, groups_of(node_states).candidates(q.demand), is_explained=True)


def picked(node_states: Iterable[NodeState], q: Question) -> NodeState | None:
    """Where the default policy places the job."""
    return place(node_states, q).node_state


def a_book(**speeds: float) -> SpeedBook:
    """What is known of these nodes' speeds for English: node to audio-seconds per second."""
    book = SpeedBook(RULES)
    book.load({node.replace("_", "-"): {"en:en": speed} for node, speed in speeds.items()})
    return book

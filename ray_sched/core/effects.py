"""What brains are told and what they answer: facts in, instructions out.

Events are past tense, effects imperative. A shell performs the effects in this order: save what is to be saved, in
one commit; then tell. What nobody has saved, nobody is told.
"""

from msgspec import Struct

from ray_sched.core.messages.agent_dispatcher import AgentMessage, AgentOrder
from ray_sched.core.messages.client_dispatcher import Answer, ClientEvent, ClientMessage
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.ports import Change

# --- told to the dispatcher's brain --------------------------------------------------------------------------------


class ClientSpoke(Struct, frozen=True):
    """A client's batch has arrived."""

    client_id: str
    messages: tuple[ClientMessage, ...]


class SubmitsTakenBack(Struct, frozen=True):
    """These submits were answered no in the end: they could not be saved in time, and nobody heard what was decided."""

    client_id: str
    request_ids: tuple[str, ...]


class ClientPolled(Struct, frozen=True):
    """A client is there."""

    client_id: str


class AgentSpoke(Struct, frozen=True):
    """An agent's batch has arrived."""

    node: str
    incarnation: int
    messages: tuple[AgentMessage, ...]


class PoolOffered(Struct, frozen=True):
    """A pool has said which slots may be used."""

    offer: PoolOffer


class PoolClosed(Struct, frozen=True):
    """A pool is removed; it had no nodes."""

    pool: str


class Swept(Struct, frozen=True):
    """Time has passed: see what is due."""


class CleanupDue(Struct, frozen=True):
    """Finished jobs of this age can be forgotten."""

    max_age_ms: int


class DrainBegan(Struct, frozen=True):
    """The whole scheduler takes no new jobs."""


class StoreWentAway(Struct, frozen=True):
    """Nothing can be saved, so nothing can be told: until StoreCameBack no job is given to a node."""


class StoreCameBack(Struct, frozen=True):
    """What is decided is saved again."""


class StoreWasEmptied(Struct, frozen=True):
    """The store has lost what it held, and answers: all of it has to be written again."""


DispatchEvent = (
    ClientSpoke
    | SubmitsTakenBack
    | ClientPolled
    | AgentSpoke
    | PoolOffered
    | PoolClosed
    | Swept
    | CleanupDue
    | DrainBegan
    | StoreWentAway
    | StoreCameBack
    | StoreWasEmptied
)

# --- what brains answer --------------------------------------------------------------------------------------------


class Save(Struct, frozen=True):
    """Make this change in the store."""

    change: Change


class NotifyClient(Struct, frozen=True):
    """Put this event into the client's mailbox."""

    client_id: str
    event: ClientEvent


class DropClient(Struct, frozen=True):
    """Forget the mailbox of a client that is gone."""

    client_id: str


class OrderAgent(Struct, frozen=True):
    """Tell an agent to do this."""

    agent: str
    incarnation: int
    order: AgentOrder


class AnswerClient(Struct, frozen=True):
    """The answers to the Submits and Cancels of the batch, in order."""

    answers: tuple[Answer, ...]


class AnswerPool(Struct, frozen=True):
    """The answer to a pool's offer."""

    receipt: LeaseReceipt


class Cleaned(Struct, frozen=True, kw_only=True):
    """What a clean-up removed."""

    jobs: int
    record_bytes: int
    """Size of the removed records."""
    kept: int
    """Finished jobs that are younger and stay."""


class ReportCleanup(Struct, frozen=True):
    """What a clean-up removed."""

    cleaned: Cleaned


class Log(Struct, frozen=True):
    """Something a person on call wants to read."""

    text: str


DispatchEffect = Save | NotifyClient | DropClient | OrderAgent | AnswerClient | AnswerPool | ReportCleanup | Log

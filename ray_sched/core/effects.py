"""Facts that the Dispatcher's brain handles, and effects that it answers with; Save and Log are the Registry's, too.

Events are past tense, effects imperative. A shell performs the effects of one step in this order: every Save, in one
commit; then the others, in their order. Nobody is notified of what is not saved.
"""

from msgspec import Struct

from ray_sched.core.messages.agent_dispatcher import AgentMessage, AgentOrder
from ray_sched.core.messages.client_dispatcher import Answer, ClientEvent, ClientMessage
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.ports import Change

# --- events ------------------------------------------------------------------------------------------------------


class ClientSpoke(Struct, frozen=True):
    """A client's batch has arrived. Answered by one AnswerClient with an answer for each Submit and Cancel."""

    client_id: str
    messages: tuple[ClientMessage, ...]


class SubmitsWithdrawn(Struct, frozen=True):
    """The client was refused these submits after all, since they were not saved in time: their jobs are not run.

    Only submits that made a job in that step are named. The same requests may be submitted again.
    """

    client_id: str
    request_ids: tuple[str, ...]


class ClientPolled(Struct, frozen=True):
    """A client has polled: it lives, and its waiting jobs go on waiting."""

    client_id: str


class ClientBlocked(Struct, frozen=True):
    """A client lives, and does not answer just now: it keeps its jobs, and none of them is given to a node."""

    client_id: str


class AgentSpoke(Struct, frozen=True):
    """An agent's reports have arrived. What is late or repeated changes nothing; the shell acknowledges all of it."""

    node: str
    incarnation: int
    messages: tuple[AgentMessage, ...]


class PoolOffered(Struct, frozen=True):
    """A pool has offered its slots. Answered by one AnswerPool, also if the offer is an old one."""

    offer: PoolOffer


class PoolClosed(Struct, frozen=True):
    """The Registry has removed a pool, which had no nodes: its leases are gone."""

    pool: str


class Swept(Struct, frozen=True):
    """Time has passed: handle every time-out that is due. Sent ten times a second."""


class CleanupDue(Struct, frozen=True):
    """Forget jobs that ended at least this long ago. Answered by one ReportCleanup."""

    max_age_ms: int


class CancelAsked(Struct, frozen=True):
    """A person cancels these jobs, whoever has submitted them. Those that have ended, or are not known, stay so."""

    job_ids: tuple[str, ...]


class DrainBegan(Struct, frozen=True):
    """The scheduler is going to stop: from now on every submit is refused, and what runs goes on."""


class StoreWentAway(Struct, frozen=True):
    """Nothing can be saved, so nothing can be promised: until StoreCameBack no job is given to a node."""


class StoreCameBack(Struct, frozen=True):
    """The store has answered again: what is decided is saved, and jobs are given to nodes."""


class StoreWasEmptied(Struct, frozen=True):
    """The store answers and has lost what it held. Answered by a Save of everything that is known."""


DispatchEvent = (
    ClientSpoke
    | SubmitsWithdrawn
    | ClientPolled
    | ClientBlocked
    | AgentSpoke
    | PoolOffered
    | PoolClosed
    | Swept
    | CleanupDue
    | CancelAsked
    | DrainBegan
    | StoreWentAway
    | StoreCameBack
    | StoreWasEmptied
)

# --- effects -----------------------------------------------------------------------------------------------------


class Save(Struct, frozen=True):
    """Make this change in the store, before any other effect of the same step is performed."""

    change: Change


class NotifyClient(Struct, frozen=True):
    """Put this event into the client's mailbox, where it stays until the client has acknowledged it."""

    client_id: str
    event: ClientEvent


class DropClient(Struct, frozen=True):
    """Forget the mailbox of a client that is gone, with the mail in it."""

    client_id: str


class OrderAgent(Struct, frozen=True):
    """Send this order to an agent, if it is of this incarnation. It may get lost; the brain repeats what matters."""

    agent: str
    incarnation: int
    order: AgentOrder


class AnswerClient(Struct, frozen=True):
    """Answer the call that brought the batch: for each of its Submits and Cancels, in order."""

    answers: tuple[Answer, ...]


class AnswerPool(Struct, frozen=True):
    """Answer the call that brought the offer."""

    receipt: LeaseReceipt


class Cleaned(Struct, frozen=True, kw_only=True):
    """What a clean-up removed."""

    jobs: int
    record_bytes: int
    """Size of the removed records."""
    kept: int
    """Finished jobs that are younger and stay."""


class ReportCleanup(Struct, frozen=True):
    """Answer the call that asked for the clean-up."""

    cleaned: Cleaned


class Log(Struct, frozen=True):
    """Write this into the log, for a person on call."""

    text: str
    node: str = ""
    """Which node it is about, if it is about one."""


DispatchEffect = Save | NotifyClient | DropClient | OrderAgent | AnswerClient | AnswerPool | ReportCleanup | Log

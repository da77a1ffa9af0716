"""What actors, agents and clients say to each other. Each docstring says who tells whom, and when.

What is kept by the hundred thousand is hidden from the garbage collector (``gc=False``): nothing here can refer to
itself, and what need not be looked at costs no pauses.

All of these travel as MessagePack, decoded with every type, length and range checked (see ``wire/codec.py``); a
message that does not fit is answered INVALID_MESSAGE and changes nothing. Every message about a job names its
attempt. Times are durations in milliseconds where they cross machines, since clocks differ.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability, Demand, Language, demand_of
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.reasons import Reason

Text = Annotated[str, Meta(max_length=256)]
"""Ids and names that others chose."""
Key = Annotated[bytes, Meta(max_length=64)]
"""Of one incarnation of an agent, see ``wire/seals.py``; empty where nobody checks it."""
LongText = Annotated[str, Meta(max_length=100_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""A time or a difference of times: a clock may have been set back."""
MAX_INDEX = 2**53
Index = Annotated[int, Meta(ge=0, le=MAX_INDEX)]
MAX_AUDIO_MS = 24 * 3600 * 1000
AudioMs = Annotated[int, Meta(ge=0, le=MAX_AUDIO_MS)]
"""Time-outs grow with it, so nobody may claim more than a day."""
MAX_SLOTS = 1024
Slots = Annotated[int, Meta(ge=0, le=MAX_SLOTS)]
MAX_NODES = 10_000
"""Of one pool; ``max_nodes_per_pool`` is the rule, this is the border."""
Services = Annotated[tuple[Text, ...], Meta(max_length=8)]
Attempt = Annotated[int, Meta(ge=1, le=100_000)]


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Base of everything on the wire: immutable, unknown fields refused, the class name is its tag."""


# --- client to dispatcher ------------------------------------------------------------------------------------------


class JobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The description of a job: everything but its audio."""

    request_id: Text
    """Unique per client; submitting it again returns the same job."""
    src: Language
    tgt: Language
    services: Services = ("asr",)
    """Sorted names out of ``asr``, ``mt``, ``tts``."""
    session: Text = ""
    """Empty: the job belongs to no session, its result is delivered as soon as it is there."""
    utterance_index: Index | None = None
    """Place in the session, counted from 0; None: the next one."""
    audio_ms: AudioMs = 0
    """Expected duration; 0: not known before the audio is read."""
    digest: Text = ""
    """Fingerprint of the audio, given with request ids that the user chose."""
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    """Higher is sooner."""
    deadline_ms: Annotated[int, Meta(ge=1, le=30 * 24 * 3600 * 1000)] | None = None
    """The job must have been given to a node within this time of its submission; replaces the pending time-out."""
    tenant: Text = ""
    needs_gpu: bool = False
    wants_partials: bool = False
    name: Text = ""
    """What people call it, such as the file's name."""
    trace_id: Text = ""

    def demand(self) -> Demand:
        """What this job needs of a node; the same object for all jobs that need the same."""
        return demand_of(self.src, self.tgt, self.services, self.tenant, self.needs_gpu)


class Submit(Message, frozen=True, kw_only=True):
    """A client asks the Dispatcher to take a job. Answered with Accepted or a Refusal."""

    spec: JobSpec


class Cancel(Message, frozen=True, kw_only=True):
    """A client no longer wants a job. Answered with Accepted (it ends as cancelled) or a Refusal."""

    job_id: Text


class PushFailed(Message, frozen=True, kw_only=True):
    """A client could not bring the audio to the node it was told: the push did not get through, or timed out."""

    job_id: Text
    attempt: Attempt
    why: LongText


class AudioUnreadable(Message, frozen=True, kw_only=True):
    """A client found, when it was time to push, that the audio cannot be read. The job fails with this refusal."""

    job_id: Text
    attempt: Attempt
    refusal: Refusal


class SpeechTaken(Message, frozen=True, kw_only=True):
    """A client has fetched the synthesised speech of an attempt; only now does the job complete."""

    job_id: Text
    attempt: Attempt


class SpeechLost(Message, frozen=True, kw_only=True):
    """A client could not fetch the synthesised speech; the job runs again."""

    job_id: Text
    attempt: Attempt
    why: LongText


ClientMessage = Submit | Cancel | PushFailed | AudioUnreadable | SpeechTaken | SpeechLost


class ClientBatch(Message, frozen=True, kw_only=True):
    """Everything a client had to say since its last call returned."""

    client_id: Text
    poller: Count
    """Start time of the client process in microseconds; the newest process of a client id wins."""
    messages: Annotated[tuple[ClientMessage, ...], Meta(max_length=20_000)]


class Poll(Message, frozen=True, kw_only=True):
    """A client waits for events. Returns when there are some, or empty after a bounded wait."""

    client_id: Text
    poller: Count
    acked: Count
    """Number of the last event the client has handled; the Dispatcher forgets events up to it."""
    boot: Text = ""
    """The ``boot`` of the mail that ``acked`` counts in; a number of another one acknowledges nothing."""
    is_resync: bool = False
    """True after a failed call: events after ``acked`` are handed out again."""
    held_bytes: Count = 0
    """The client's ledger: audio bytes in its memory."""
    stored_bytes: Count = 0
    """The client's ledger: audio bytes in the object store."""


# --- dispatcher to client ------------------------------------------------------------------------------------------


class Accepted(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a Submit or Cancel: this is the job."""

    job_id: Text
    is_duplicate: bool = False
    """True: the request id was known, and this is the job it named."""
    utterance_index: Index | None = None


class Refused(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a Submit or Cancel with no."""

    refusal: Refusal


Answer = Accepted | Refused


class Assigned(Message, frozen=True, kw_only=True):
    """The Dispatcher tells the submitter where to push the audio, and until when."""

    job_id: Text
    attempt: Attempt
    node: Text
    incarnation: Count
    agent: Text
    """Name of the agent's actor."""
    ticket: Text = ""
    """Shows the agent that the attempt is this client's; the shell puts it in."""


class PartialText(Message, frozen=True, kw_only=True):
    """The Dispatcher passes on what a node has recognised so far. May be skipped under load."""

    job_id: Text
    attempt: Attempt
    text: LongText


class SpeechReady(Message, frozen=True, kw_only=True):
    """The Dispatcher tells the submitter that speech waits at the agent to be fetched."""

    job_id: Text
    attempt: Attempt
    agent: Text
    n_bytes: Count
    rate_hz: Count
    ticket: Text = ""


class AttemptNote(Struct, frozen=True, kw_only=True, gc=False):
    """What became of one attempt that did not end its job."""

    attempt: Number
    node: str
    why: str


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """How a job ended."""

    status: str
    """``completed``, ``completed_no_text``, ``failed`` or ``cancelled``."""
    text: str = ""
    translation: str = ""
    speech_bytes: Number = 0
    speech_rate_hz: Number = 0
    node: str = ""
    attempt: Number = 0
    audio_ms: Number = 0
    wait_ms: Number = 0
    """From submission until a node had accepted the audio; the whole life for jobs that never were."""
    run_ms: Number = 0
    """Inside the engine, measured by the agent."""
    error: Refusal | None = None
    attempts: tuple[AttemptNote, ...] = ()
    """Earlier attempts, oldest first."""


class Delivered(Message, frozen=True, kw_only=True, gc=False):
    """The Dispatcher delivers a job's outcome: in session order, or at once for jobs without a session."""

    job_id: Text
    session: Text
    utterance_index: Index | None
    outcome: Outcome
    is_late: bool = False
    """True: its gap had been announced before."""


class MissingResult(Message, frozen=True, kw_only=True):
    """The Dispatcher announces that a session goes on without these results. They may still come, marked late."""

    session: Text
    first_index: Index
    last_index: Index
    """Inclusive."""
    why: LongText


ClientEvent = Assigned | PartialText | SpeechReady | Delivered | MissingResult


class Mail(Message, frozen=True, kw_only=True):
    """Events for one client, in order; ``last`` is the number of the last one. Repeated until acknowledged."""

    boot: Text
    """Which life of the Dispatcher this is; another one means: resend what was not acknowledged."""
    last: Count
    events: tuple[ClientEvent, ...]
    slots: Count = 0
    """Slots of the whole cluster at this moment: how many jobs can run at once."""
    refusal: Refusal | None = None


class ClientReply(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a ClientBatch: one answer for each Submit and Cancel in it, in order, and any mail."""

    answers: tuple[Answer, ...]
    mail: Mail


# --- client and agent ----------------------------------------------------------------------------------------------


class PushItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job of a push; its audio has its place in the parcel, as 16 kHz mono signed 16-bit samples."""

    job_id: Text
    attempt: Attempt
    src: Language
    tgt: Language
    services: Services
    wants_partials: bool
    n_bytes: Count
    ticket: Text = ""
    """As it came with Assigned."""


class Push(Message, frozen=True, kw_only=True):
    """A client brings jobs to an agent, with one object that holds the audio of each, in the order of ``items``."""

    incarnation: Count
    items: Annotated[tuple[PushItem, ...], Meta(max_length=4096)]


class PushReply(Message, frozen=True, kw_only=True):
    """The agent has copied the audio of the accepted jobs; the client may drop it. Refusals by job id."""

    refused: dict[str, str]


class TakeSpeech(Message, frozen=True, kw_only=True):
    """A client fetches synthesised speech from an agent; the return value is the samples."""

    job_id: Text
    attempt: Attempt
    ticket: Text = ""
    """As it came with SpeechReady."""


# --- agent to dispatcher -------------------------------------------------------------------------------------------


class RunAccepted(Message, frozen=True, kw_only=True):
    """An agent has copied the audio out of the object store and given the job a slot."""

    job_id: Text
    attempt: Attempt
    audio_ms: AudioMs
    audio_bytes: Count
    age_ms: Count = 0
    """How long ago that was when the agent sent this."""


class RunRefused(Message, frozen=True, kw_only=True):
    """An agent does not take this attempt; nothing of it stays there."""

    job_id: Text
    attempt: Attempt
    why: LongText


class RunPartial(Message, frozen=True, kw_only=True):
    """An agent has recognised some of the text. Repeats replace each other."""

    job_id: Text
    attempt: Attempt
    text: LongText


class RunFinished(Message, frozen=True, kw_only=True):
    """An agent has run the job; its slot is free. Speech, if any, waits there to be fetched."""

    job_id: Text
    attempt: Attempt
    text: LongText
    translation: LongText = ""
    speech_bytes: Count = 0
    speech_rate_hz: Count = 0
    run_ms: Count


class RunFailed(Message, frozen=True, kw_only=True):
    """An agent's engine did not bring this attempt to its end; its slot is free."""

    job_id: Text
    attempt: Attempt
    code: Code
    why: LongText
    service: Text = ""
    """With MODEL_NOT_AVAILABLE: the service to skip on this node."""
    run_ms: Count = 0


class RunStopped(Message, frozen=True, kw_only=True):
    """An agent has stopped an attempt as it was ordered to, or never had it; its slot is free."""

    job_id: Text
    attempt: Attempt


AgentMessage = RunAccepted | RunRefused | RunPartial | RunFinished | RunFailed | RunStopped


class AgentBatch(Message, frozen=True, kw_only=True):
    """Everything an agent had to say since its last call returned. Repeated until the call returns."""

    node: Text
    incarnation: Count
    key: Key = b""
    messages: Annotated[tuple[AgentMessage, ...], Meta(max_length=20_000)]


# --- dispatcher to agent -------------------------------------------------------------------------------------------


class StopRun(Message, frozen=True, kw_only=True):
    """The Dispatcher tells an agent to stop an attempt: cancelled, or out of time. Answered by RunStopped."""

    job_id: Text
    attempt: Attempt


class DropSpeech(Message, frozen=True, kw_only=True):
    """The Dispatcher tells an agent that nobody will fetch this speech any more."""

    job_id: Text
    attempt: Attempt


AgentOrder = StopRun | DropSpeech


class AgentOrders(Message, frozen=True, kw_only=True):
    """Orders for one incarnation of an agent."""

    incarnation: Count
    key: Key = b""
    """The agent's own: whoever shows it is the Dispatcher."""
    orders: Annotated[tuple[AgentOrder, ...], Meta(max_length=20_000)]


# --- agent and registry --------------------------------------------------------------------------------------------


class Load(Struct, frozen=True, kw_only=True):
    """How busy a node is, in percent. CPU counts what others than the agent and its engines use."""

    cpu: Annotated[float, Meta(ge=0, le=100)] = 0.0
    memory: Annotated[float, Meta(ge=0, le=100)] = 0.0
    gpu: Annotated[float, Meta(ge=0, le=100)] = 0.0
    gpu_memory: Annotated[float, Meta(ge=0, le=100)] = 0.0


class Heartbeat(Message, frozen=True, kw_only=True):
    """An agent tells the Registry how it is, twice a second. The first one with a capability makes it ready."""

    node: Text
    incarnation: Count
    key: Key = b""
    is_loaded: bool
    """The engine is loaded and can run jobs."""
    is_healthy: bool
    why: LongText = ""
    """What is wrong, if something is."""
    capability: Capability | None = None
    """What the engine really offers; None while it loads."""
    load: Load = Load()
    running: Count = 0
    """Jobs that hold a slot, by the agent's own count."""
    most_running: Count = 0
    """The highest ``running`` there ever was: the proof that no slot was oversold."""
    accepted: Count = 0
    """Jobs accepted since the start."""
    audio_bytes: Count = 0
    """The node's ledger: audio of accepted jobs in the agent's memory."""
    speech_bytes: Count = 0
    """The node's ledger: synthesised speech that waits to be fetched."""


class BeatReply(Message, frozen=True, kw_only=True):
    """The Registry answers a heartbeat. An agent that is not current ends itself."""

    is_current: bool
    is_draining: bool = False


# --- registry to pool, pool to dispatcher --------------------------------------------------------------------------


class NodeView(Struct, frozen=True, kw_only=True):
    """A node as the Registry sees it at this moment."""

    node: Text
    incarnation: Count
    agent: Text
    status: Text
    slots: Slots
    load: Load = Load()
    running: Count = 0
    why: LongText = ""
    has_died: bool = False
    """It is lost because the process of its agent ended."""


class PoolMembers(Message, frozen=True, kw_only=True):
    """The Registry tells a Pool who belongs to it: everything, at every change and four times a second."""

    pool: Text
    epoch: Count
    """Start time of the Registry; with ``number`` it orders these messages."""
    number: Count
    capability: Capability
    nodes: Annotated[tuple[NodeView, ...], Meta(max_length=MAX_NODES)]


class PoolSpent(Message, frozen=True, kw_only=True):
    """A Pool answers the Registry: slots with a job on them, as the Dispatcher said when it knew this word of yours."""

    epoch: Count
    number: Count
    spent: dict[str, int]


class NodeOffer(Struct, frozen=True, kw_only=True):
    """A Pool's word on one node: which slots the Dispatcher may use until the term ends, and if none, why."""

    node: Text
    incarnation: Count
    agent: Text
    status: Text
    slots: Slots
    """Slots leased: numbers 0 to ``slots`` - 1. 0 when ``why`` is given."""
    total_slots: Slots
    load: Load
    why: Reason | None = None
    has_died: bool = False
    """It is lost because the process of its agent ended."""
    because: Annotated[str, Meta(max_length=1_000)] = ""
    """What the Registry says of a node that is not well."""


class PoolOffer(Message, frozen=True, kw_only=True):
    """A Pool leases its nodes' slots to the Dispatcher: everything, at every change and four times a second.

    A node or slot that an offer leaves out is revoked; what is spent ends with its job. Answered by LeaseReceipt.
    """

    pool: Text
    epoch: Count
    number: Count
    capability: Capability
    term_ms: Count
    nodes: Annotated[tuple[NodeOffer, ...], Meta(max_length=MAX_NODES)]


class LeaseReceipt(Message, frozen=True, kw_only=True):
    """The Dispatcher answers an offer: how many slots of each node have a job on them."""

    spent: dict[str, int]

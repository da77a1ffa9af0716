"""NodeAgent and NodeRegistry: heartbeats."""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.fields import AudioMs, Count, Key, LongText, Message, Text

Percentage = Annotated[float, Meta(ge=0, le=100)]
MAX_GPUS = 128
"""Of a node: sixteen cards of seven parts each are 112."""
MAX_SIBLINGS = 64
"""Engines of one machine."""


class Load(Struct, frozen=True, kw_only=True):
    """How busy a node is, in percent: what it has no influence on by taking no work.

    CPU and GPU count what others than the agent and its engines use, memory all of it.
    """

    cpu: Percentage = 0.0
    memory: Percentage = 0.0
    """Of the machine, or of the container's limit if that is nearer."""
    gpu: Percentage = 0.0
    """Of the time of the GPU that others use most."""
    gpu_memory: Percentage = 0.0
    """Of the memory of the GPU on which others have most."""


class GpuUse(Struct, frozen=True, kw_only=True):
    """How much of one GPU is used by anybody, and how much of that by others than the agent and its engines."""

    name: Text
    """Its number; of a part that MIG has cut off, that of its GPU and its own: ``0:1``."""
    use: Percentage
    """Of its time."""
    others_use: Percentage
    memory: Percentage
    others_memory: Percentage


class Heartbeat(Message, frozen=True, kw_only=True):
    """Agent to Registry, twice a second: what it holds and how it is. The first with a capability makes it ready."""

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
    pid: Count = 0
    """Of the agent's process, among those of its machine."""
    loads_in_ms: AudioMs = 0
    """Its model is unloaded, or loads again: about how long a job that comes now waits for it; 0: not at all."""
    gpus: Annotated[tuple[GpuUse, ...], Meta(max_length=MAX_GPUS)] = ()
    """For people; what counts is in ``load``."""
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
    """Registry to agent, the answer to a heartbeat. An agent that is not current ends itself."""

    is_current: bool
    is_draining: bool = False
    siblings: Annotated[tuple[Count, ...], Meta(max_length=MAX_SIBLINGS)] = ()
    """Processes of the agents that serve the other engines of its machine: what they use is no load of others."""

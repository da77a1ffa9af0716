"""NodeAgent and NodeRegistry: heartbeats."""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.fields import Count, Key, LongText, Message, Text


class Load(Struct, frozen=True, kw_only=True):
    """How busy a node is, in percent. CPU counts what others than the agent and its engines use."""

    cpu: Annotated[float, Meta(ge=0, le=100)] = 0.0
    memory: Annotated[float, Meta(ge=0, le=100)] = 0.0
    gpu: Annotated[float, Meta(ge=0, le=100)] = 0.0
    gpu_memory: Annotated[float, Meta(ge=0, le=100)] = 0.0


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

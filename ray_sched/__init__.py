"""ray_sched: an actor-model scheduler on Ray for real-time speech jobs.

``Client`` and ``BlockingClient`` submit utterances and give their results; ``SchedError`` is what they raise.
"""

from typing import TYPE_CHECKING, Any

from ray_sched.core.errors import Code, SchedError

if TYPE_CHECKING:
    from ray_sched.client.long import Passage
    from ray_sched.client.results import Missing, Result
    from ray_sched.core.messages.recognition import Segment, Word
    from ray_sched.settings import Settings, load_settings
    from ray_sched.system.api import BlockingClient, Client

__all__ = [
    "BlockingClient",
    "Client",
    "Code",
    "Missing",
    "Passage",
    "Result",
    "SchedError",
    "Segment",
    "Settings",
    "Word",
    "load_settings",
]

_WHERE = {
    "BlockingClient": "ray_sched.system.api",
    "Client": "ray_sched.system.api",
    "Missing": "ray_sched.client.results",
    "Passage": "ray_sched.client.long",
    "Result": "ray_sched.client.results",
    "Segment": "ray_sched.core.messages.recognition",
    "Settings": "ray_sched.settings",
    "Word": "ray_sched.core.messages.recognition",
    "load_settings": "ray_sched.settings",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: numpy and the rest cost a second that a command's ``--help`` need not wait."""
    if name not in _WHERE:
        raise AttributeError(f"module 'ray_sched' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(_WHERE[name]), name)

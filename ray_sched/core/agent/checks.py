"""What the agent's brain asks of its shell."""

from typing import Protocol

from ray_sched.core.messages.client_agent import PushItem


class PushChecks(Protocol):
    """What the brain asks of the shell about one item of a push. They answer at once and change nothing."""

    def has_token(self, item: PushItem) -> bool:
        """Whether the item shows the token that the Dispatcher made for this attempt on this incarnation."""
        ...

    def loads_within_ms(self) -> int:
        """How long a run that is accepted now waits for its model at most; 0: the model is loaded."""
        ...

    def admit(self, item: PushItem) -> str | None:
        """Why the engine refuses this work right now, one sentence that can travel; None if it accepts."""
        ...

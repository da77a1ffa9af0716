"""An agent's brain with a clock that a test sets, and a network that acknowledges all or nothing."""

from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import AgentEffect, RunEnd, RunReturned
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_dispatcher import AgentMessage, AgentOrder, AgentOrders
from ray_sched.core.messages.client_agent import Push, PushItem

SEEN = "this attempt was pushed or stopped here before"
ENGLISH = Capability(engine="echo", asr=("en",))
TOKEN, STOLEN = "of this agent", "of another one"
DONE = RunReturned(text="done")


def an_item(job_id: str = "j1", attempt: int = 1, *, n_bytes: int = 32_000, token: str = TOKEN) -> PushItem:
    return PushItem(
        job_id=job_id,
        attempt=attempt,
        src="en",
        tgt="en",
        services=("asr",),
        wants_partials=True,
        n_bytes=n_bytes,
        token=token,
    )


class AgentHarness:
    """One incarnation, loaded unless a test wants it otherwise. Times begin at 1000 ms."""

    def __init__(self, slots: int = 2, *, is_loaded: bool = True) -> None:
        self.now_ms = 1_000
        self.refuses_because: str | None = None
        self.model_loads_within_ms = 0
        self.asked_about: list[PushItem] = []
        """What the engine was asked whether it takes it."""
        self.brain = AgentBrain(AgentOptions(node="a", incarnation=3, slots=slots, key=b"key"), self)
        if is_loaded:
            self.brain.engine_loaded(ENGLISH)

    # --- the brain's checks

    def has_token(self, item: PushItem) -> bool:
        return item.token == TOKEN

    def loads_within_ms(self) -> int:
        return self.model_loads_within_ms

    def admit(self, item: PushItem) -> str | None:
        self.asked_about.append(item)
        return self.refuses_because

    # --- facts

    def push(self, *items: str | PushItem, incarnation: int = 3) -> list[AgentEffect]:
        """A client's push; a job's id stands for its first attempt with a second of audio."""
        push = tuple(an_item(item) if isinstance(item, str) else item for item in items)
        return self.brain.handle_push(Push(incarnation=incarnation, items=push), self.now_ms)

    def order(self, *orders: AgentOrder, incarnation: int = 3) -> list[AgentEffect]:
        return self.brain.handle_orders(AgentOrders(incarnation=incarnation, orders=orders), self.now_ms)

    def end(self, job_id: str = "j1", end: RunEnd = DONE, attempt: int = 1) -> list[AgentEffect]:
        return self.brain.handle_end((job_id, attempt), end, self.now_ms)

    def partial(self, text: str, job_id: str = "j1") -> None:
        self.brain.handle_partial((job_id, 1), text, self.now_ms)

    def wait(self, duration_ms: int) -> list[AgentEffect]:
        self.now_ms += duration_ms
        return self.brain.tick(self.now_ms)

    # --- reports

    def take(self) -> list[AgentMessage]:
        """What is sent now; nobody has acknowledged it yet."""
        batch = self.brain.take_batch(self.now_ms)
        return list(batch.messages) if batch else []

    def sent(self) -> list[AgentMessage]:
        """What is sent now and acknowledged, batch after batch."""
        messages: list[AgentMessage] = []
        while batch := self.take():
            messages += batch
            self.brain.batch_sent(self.now_ms)
        return messages

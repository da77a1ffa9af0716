"""A Dispatcher's brain that can be lost and begins anew with what it had saved."""

from collections.abc import Iterable

from ray_sched.core.effects import DispatchEffect, Save
from ray_sched.core.job import Job, from_record
from ray_sched.core.ports import ForgetJob, SaveJob
from tests.support.builders import DispatchHarness


class Disk:
    """What was saved, by job."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}

    def save(self, effects: Iterable[DispatchEffect]) -> None:
        for effect in effects:
            match effect:
                case Save(change=SaveJob() as saved):
                    self.records[saved.job_id] = saved.record
                case Save(change=ForgetJob() as forgotten):
                    self.records.pop(forgotten.job_id, None)
                case _:
                    pass

    def jobs(self) -> list[Job]:
        return [from_record(record) for record in self.records.values()]


class SavingHarness(DispatchHarness):
    """A harness whose brain can be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()

    def handle(self, event: object) -> list[DispatchEffect]:
        effects = super().handle(event)  # type: ignore[arg-type]  # passed on as it came
        self.disk.save(effects)
        return effects

    def crash(self) -> list[DispatchEffect]:
        """The brain is lost and another one begins with what is on the disk."""
        fresh = DispatchHarness()
        self.brain = fresh.brain
        effects = self.brain.restore(self.disk.jobs(), self.now_ms)
        self.disk.save(effects)
        return effects

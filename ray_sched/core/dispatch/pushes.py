"""Audio on its way: how much each client brings at a time, and until when the audio of a job may be accepted.

All that is assigned to jobs of one client travels over one link, and much of it in one push: the first byte of a job
may come only after the others' last. So the limit of each counts all that is, or was, on its way beside it.
"""

from msgspec import Struct

from ray_sched.core.rules import DispatchRules, push_limit_ms

_LONGEST_MS = 600_000
"""Audio whose length is not known before it is read may be as long as submitters take it by default."""


class _Push(Struct, frozen=True, gc=False):
    """The audio of one assigned job."""

    client_id: str
    alone_ms: int
    """Duration of its audio, or what it may be at most."""
    expected_ms: int
    since_ms: int


class _Link(Struct, gc=False):
    """All audio on its way from one client."""

    n_jobs: int = 0
    now_ms: int = 0
    most_ms: int = 0
    """At any moment since nothing was on its way."""


class Pushes:
    """The audio of assigned jobs, by job and by client; what was accepted or given up is forgotten."""

    def __init__(self, rules: DispatchRules, assumed_audio_ms: int) -> None:
        self._rules = rules
        self._assumed_ms = assumed_audio_ms
        self._pushes: dict[str, _Push] = {}
        self._links: dict[str, _Link] = {}

    def begin(self, job_id: str, client_id: str, audio_ms: int, now_ms: int) -> None:
        """From now on the audio of this job is awaited; anew, if it was before. ``audio_ms`` 0: not known."""
        self.end(job_id)
        push = _Push(client_id, audio_ms or _LONGEST_MS, audio_ms or self._assumed_ms, now_ms)
        self._pushes[job_id] = push
        link = self._links.setdefault(client_id, _Link())
        link.n_jobs += 1
        link.now_ms += push.expected_ms
        link.most_ms = max(link.most_ms, link.now_ms)

    def end(self, job_id: str) -> None:
        """The audio of this job is awaited no more, if it was."""
        push = self._pushes.pop(job_id, None)
        if push is None:
            return
        link = self._links[push.client_id]
        link.n_jobs -= 1
        link.now_ms -= push.expected_ms
        if not link.n_jobs:
            del self._links[push.client_id]

    def due_at_ms(self, job_id: str) -> int:
        """When the audio of this job must have been accepted, as far as is known now; 0 if it is not awaited."""
        push = self._pushes.get(job_id)
        if push is None:
            return 0
        audio_ms = max(push.alone_ms, self._links[push.client_id].most_ms)
        rules = self._rules
        return push.since_ms + push_limit_ms(audio_ms, rules.push_timeout_ms, rules.push_ms_per_audio_s)

    def __len__(self) -> int:
        return len(self._pushes)

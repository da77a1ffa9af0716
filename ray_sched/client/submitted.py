"""What a client holds of a job that is on its way."""

from ray_sched.client.results import JobHandle
from ray_sched.client.sources import Source


class Submitted:
    """A job on its way: its handle, its audio and the speech that was fetched."""

    __slots__ = ("handle", "source", "speech")

    def __init__(self, handle: JobHandle, source: Source) -> None:
        self.handle = handle
        self.source = source
        self.speech = b""

"""Audio for tests."""

from ray_sched.audio import Limits
from ray_sched.client.reader import How, Reader
from ray_sched.client.sources import Source
from ray_sched.wire.samples import Samples


def source_of(samples: Samples) -> Source:
    """What the client makes of an array that its user leaves alone."""
    return Source(samples, How(), Reader(Limits(), 30), copy=False)

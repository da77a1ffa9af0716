"""The fingerprint of audio: whether a request id that is said again comes with the same utterance."""

import hashlib

from ray_sched.client.sources import Source
from ray_sched.core.client.audio import AudioBook
from ray_sched.core.ledger import AudioState
from ray_sched.wire.samples import Samples

_MOST_HELD_BYTES = 64 * 2**20
"""While a client holds no more than this, samples that were made for a fingerprint are kept for their push."""


async def fingerprint(source: Source, number: int, book: AudioBook) -> str:
    """Of the samples of a submission, which are read for it. Raises SchedError INVALID_AUDIO.

    What they were made of, if it was in memory, gives way to them, so that it is decoded once; unless the client holds
    too much already, for samples may be ten times as large.
    """
    samples = await source.samples()
    book.read(number, samples.nbytes)
    made = digest(samples)
    book.drop(number)
    if book.ledger.bytes_in(AudioState.HELD) + samples.nbytes <= _MOST_HELD_BYTES:
        source.hold(samples)
        book.keep(number, source.held_bytes, are_samples=source.holds_samples)
    return made


def digest(samples: Samples) -> str:
    """A fingerprint of the samples."""
    return hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()

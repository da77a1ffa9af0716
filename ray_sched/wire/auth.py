"""Authentication: who may push a job, fetch its speech, and report for a node.

The Dispatcher, the Registry and nobody else hold the scheduler's secret. An agent is given the key of its own
incarnation when it is started, and shows it with everything it sends; so does a pool with its offers, and the Registry
with what it tells a pool, or of it. A submitter is given an attempt token with each
assignment, which the agent checks by itself: job ids can be guessed, tokens cannot.

This keeps a broken or curious client or node from touching what is another's. It is no wall against somebody who may
run code in the Ray cluster: Ray itself unpickles what it is sent, so the cluster's token is the border of trust.
"""

import hmac
from functools import lru_cache
from hashlib import blake2b

_BYTES = 16
_KEYS = 4_096


@lru_cache(_KEYS)
def agent_key(secret: bytes, node: str, incarnation: int) -> bytes:
    """The key of one incarnation of a node's agent."""
    return blake2b(f"{node}/{incarnation}".encode(), key=secret, digest_size=_BYTES).digest()


@lru_cache(_KEYS)
def pool_key(secret: bytes, pool: str) -> bytes:
    """The key of what is said by a pool, to it and of its end; ``pool`` without ``pool:`` before its name."""
    return blake2b(f"pool/{pool}".encode(), key=secret, digest_size=_BYTES).digest()


def attempt_token(key: bytes, job_id: str, attempt: int) -> str:
    """Shows the agent that has this key that the attempt was assigned to it. Costs 2 µs."""
    return blake2b(f"{job_id}/{attempt}".encode(), key=key, digest_size=_BYTES).hexdigest()


def is_same(shown: bytes | str, wanted: bytes | str) -> bool:
    """Whether these are the same; takes as long whatever they are."""
    first, second = (part.encode() if isinstance(part, str) else part for part in (shown, wanted))
    return hmac.compare_digest(first, second)

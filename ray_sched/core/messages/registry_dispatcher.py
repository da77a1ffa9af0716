"""NodeRegistry and Dispatcher: the end of a pool."""

from ray_sched.core.messages.fields import Key, Message, Text


class PoolRemoved(Message, frozen=True, kw_only=True):
    """The Registry tells the Dispatcher, once, that a pool without nodes was ended: its leases are over."""

    pool: Text
    key: Key = b""

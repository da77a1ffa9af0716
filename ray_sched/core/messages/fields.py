"""What messages are made of: the base of all of them, and the types, lengths and ranges of their fields.

All messages travel as MessagePack, decoded with every type, length and range checked (see ``wire/codec.py``); one that
does not fit is answered INVALID_MESSAGE and changes nothing. Every message about a job names its attempt. Times are
durations in milliseconds where they cross machines, since clocks differ. What is kept by the hundred thousand is hidden
from the garbage collector (``gc=False``): nothing here can refer to itself.
"""

from typing import Annotated

from msgspec import Meta, Struct

MAX_TEXT = 256
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
"""Ids and names that others chose."""
Key = Annotated[bytes, Meta(max_length=64)]
"""Of one incarnation of an agent, or of a pool, see ``wire/auth.py``; empty where nobody checks it."""
MAX_LONG_TEXT = 100_000
LongText = Annotated[str, Meta(max_length=MAX_LONG_TEXT)]
MAX_WHY = 1_000
Why = Annotated[str, Meta(max_length=MAX_WHY)]
"""A sentence for a person, cut to this by whoever sends it."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""A time or a difference of times: a clock may have been set back."""
MAX_INDEX = 2**53
Index = Annotated[int, Meta(ge=0, le=MAX_INDEX)]
NextIndex = Annotated[int, Meta(ge=0, le=MAX_INDEX + 1)]
"""The one after an index, or 0."""
MAX_AUDIO_MS = 24 * 3600 * 1000
AudioMs = Annotated[int, Meta(ge=0, le=MAX_AUDIO_MS)]
"""Time-outs grow with it, so nobody may claim more than a day."""
MAX_SLOTS = 1024
Slots = Annotated[int, Meta(ge=0, le=MAX_SLOTS)]
MAX_NODES = 10_000
"""Of one pool; ``max_nodes_per_pool`` is the rule, this is the border."""
Services = Annotated[tuple[Text, ...], Meta(max_length=8)]
Attempt = Annotated[int, Meta(ge=1, le=100_000)]


MAX_BATCH = 256
"""Messages to a call: a few hundred bytes each, so a call stays under the 100 KB that Ray sends inline; a larger one
would take the way through the object store."""


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Base of everything on the wire: immutable, unknown fields refused, the class name is its tag."""


AttemptKey = tuple[str, int]
"""Job id and attempt: names one attempt everywhere."""

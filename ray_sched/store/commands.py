"""Turns the changes of one commit into the fewest Redis commands. Pure: no connection, no clock.

Changes are folded first: keys are independent of each other, so the last change of each key gives the same end state
as writing all changes in order. What is left goes out in variadic commands, because what costs the caller is the number
of replies, not the number of keys. Only what expires needs a command of its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, assert_never

import msgspec

from ray_sched.core.ports import Change, ForgetJob, ForgetNode, SaveJob, SaveNode, SaveSpeeds
from ray_sched.store.keys import Keys

Value = str | bytes
Command = tuple[Value, ...]

MAX_CHANGES: Final = 2_000
MAX_BYTES: Final = 4 * 2**20
"""A transaction holds Redis up while it runs and has to arrive within the bound of an exchange: more is split."""


def transactions_for(changes: Iterable[Change], keys: Keys, job_ttl_s: int) -> Iterator[list[Command]]:
    """The transactions that write ``changes`` one after the other: one, unless they are too many or too large.

    Each change is in one of them as a whole, and they go in the order of the changes.
    """
    part: list[Change] = []
    n_bytes = 0
    for change in changes:
        size = len(change.record) if isinstance(change, SaveJob | SaveNode) else 0
        if part and (len(part) >= MAX_CHANGES or n_bytes + size > MAX_BYTES):
            yield commands_for(part, keys, job_ttl_s)
            part, n_bytes = [], 0
        part.append(change)
        n_bytes += size
    if part:
        yield commands_for(part, keys, job_ttl_s)


def commands_for(changes: Iterable[Change], keys: Keys, job_ttl_s: int) -> list[Command]:
    """The transaction that writes ``changes``; empty when there are none.

    ``job_ttl_s``: seconds after which Redis drops a terminal job by itself, should clean-up never come.
    """
    outcome = _Outcome(keys)
    for change in changes:
        outcome.fold(change)
    body = list(outcome.commands(str(job_ttl_s)))
    return [("MULTI",), *body, ("EXEC",)] if body else []


class _Outcome:
    """What every touched key will hold once the commit is done."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lasting: dict[str, Value] = {}
        self._expiring: dict[str, Value] = {}
        self._gone: dict[str, None] = {}
        self._members: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        self._speeds: dict[str, bytes | None] = {}

    def fold(self, change: Change) -> None:
        """Apply one more change; later ones override earlier ones of the same key."""
        match change:
            case SaveJob():
                self._save_job(change)
            case ForgetJob(job_id=job_id):
                self._forget(self._keys.job(job_id))
                self._members[self._keys.jobs][job_id] = False
            case SaveNode(node_id=node_id, record=record):
                self._write(self._keys.node(node_id), record, self._lasting)
                self._members[self._keys.nodes][node_id] = True
            case ForgetNode(node_id=node_id):
                self._forget(self._keys.node(node_id))
                self._members[self._keys.nodes][node_id] = False
                self._speeds[node_id] = None
            case SaveSpeeds(node_id=node_id, speeds=speeds):
                self._speeds[node_id] = msgspec.json.encode(speeds)
            case _:
                assert_never(change)

    def commands(self, ttl_s: str) -> Iterator[Command]:
        """The commands that bring it about, in no particular order: no two touch the same key and member."""
        if self._lasting:
            yield ("MSET", *_flat(self._lasting))
        for key, value in self._expiring.items():
            yield ("SET", key, value, "EX", ttl_s)
        if self._gone:
            yield ("DEL", *self._gone)
        for key, members in self._members.items():
            yield from _variadic(("SADD", key), [member for member, is_in in members.items() if is_in])
            yield from _variadic(("SREM", key), [member for member, is_in in members.items() if not is_in])
        known = {node_id: speeds for node_id, speeds in self._speeds.items() if speeds is not None}
        yield from _variadic(("HSET", self._keys.speed), list(_flat(known)))
        yield from _variadic(("HDEL", self._keys.speed), [node_id for node_id in self._speeds if node_id not in known])

    def _save_job(self, save: SaveJob) -> None:
        values = self._lasting if save.is_open else self._expiring
        self._write(self._keys.job(save.job_id), save.record, values)
        self._members[self._keys.jobs][save.job_id] = True

    def _write(self, key: str, value: Value, values: dict[str, Value]) -> None:
        self._lasting.pop(key, None)
        self._expiring.pop(key, None)
        self._gone.pop(key, None)
        values[key] = value

    def _forget(self, key: str) -> None:
        self._lasting.pop(key, None)
        self._expiring.pop(key, None)
        self._gone[key] = None


def _flat(pairs: dict[str, Value] | dict[str, bytes]) -> Iterator[Value]:
    for key, value in pairs.items():
        yield key
        yield value


def _variadic(head: Command, arguments: Sequence[Value]) -> Iterator[Command]:
    if arguments:
        yield (*head, *arguments)

"""Every Redis key there is. Names keys, and knows who writes each and when it goes; never talks to Redis.

| key               | type   | holds                       | writer     | goes when                      |
|-------------------|--------|-----------------------------|------------|--------------------------------|
| ``schema``        | string | version of this table       | first open | never                          |
| ``known:{actor}`` | string | "all I saved is here"       | that actor | never; with all others at once |
| ``jobs``          | set    | ids of all jobs             | Dispatcher | member: with its job           |
| ``job:{job}``     | string | the record, JSON, once      | Dispatcher | forgotten; TTL once terminal   |
| ``nodes``         | set    | ids of all nodes            | Registry   | member: with its node          |
| ``node:{node}``   | string | the record, JSON            | Registry   | forgotten                      |
| ``speed``         | hash   | node to JSON, pair to speed | Dispatcher | field: node forgotten          |

Every name follows ``{prefix}:``; a prefix in braces keeps them in one slot of a Redis Cluster. The sets are indexes, so
nothing ever scans the key space. ``migrations`` says how data of earlier versions becomes this.
"""

from typing import Final

SCHEMA_VERSION: Final = 3
"""Version of the table above. A new field with a default in a record makes no new version: old records read as that."""


class Keys:
    """Names of the keys under one prefix."""

    __slots__ = ("_job", "_known", "_node", "jobs", "nodes", "prefix", "schema", "speed")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.schema = f"{prefix}:schema"
        self.jobs = f"{prefix}:jobs"
        self.nodes = f"{prefix}:nodes"
        self.speed = f"{prefix}:speed"
        self._job = f"{prefix}:job:"
        self._node = f"{prefix}:node:"
        self._known = f"{prefix}:known:"

    def job(self, job_id: str) -> str:
        """Key of a job's record."""
        return self._job + job_id

    def node(self, node_id: str) -> str:
        """Key of a node's record."""
        return self._node + node_id

    def known(self, actor: str) -> str:
        """Key that says that all this actor has saved is here; where it is missing, the store was emptied."""
        return self._known + actor

    def fixed_types(self) -> dict[str, str]:
        """The keys that exist once, each with its Redis type."""
        return {self.schema: "string", self.jobs: "set", self.nodes: "set", self.speed: "hash"}

"""Every Redis key there is. Names keys, and knows who writes each and when it goes; never talks to Redis.

| key                        | type   | holds                       | writer     | goes when                      |
|----------------------------|--------|-----------------------------|------------|--------------------------------|
| ``schema``                 | string | version of this table       | first open | never                          |
| ``jobs``                   | set    | ids of all jobs             | Dispatcher | member: with its job           |
| ``open``                   | set    | ids of jobs not yet ended   | Dispatcher | member: when its job ends      |
| ``job:{job}``              | string | the record, JSON, once      | Dispatcher | forgotten; TTL once terminal   |
| ``request:{client}:{req}`` | string | the job this request made   | Dispatcher | with its job; TTL like its job |
| ``nodes``                  | set    | ids of all nodes            | Registry   | member: with its node          |
| ``node:{node}``            | string | the record, JSON            | Registry   | forgotten                      |
| ``speed``                  | hash   | node to JSON, pair to speed | Dispatcher | field: node forgotten          |

Every name follows ``{prefix}:``; a prefix in braces keeps them in one slot of a Redis Cluster. The sets are indexes, so
nothing ever scans the key space.
"""

from typing import Final
from urllib.parse import quote

SCHEMA_VERSION: Final = 1
"""Version of the table above; a store that holds another one is refused."""


class Keys:
    """Names of the keys under one prefix."""

    __slots__ = ("_job", "_node", "_request", "jobs", "nodes", "open", "schema", "speed")

    def __init__(self, prefix: str) -> None:
        self.schema = f"{prefix}:schema"
        self.jobs = f"{prefix}:jobs"
        self.open = f"{prefix}:open"
        self.nodes = f"{prefix}:nodes"
        self.speed = f"{prefix}:speed"
        self._job = f"{prefix}:job:"
        self._node = f"{prefix}:node:"
        self._request = f"{prefix}:request:"

    def job(self, job_id: str) -> str:
        """Key of a job's record."""
        return self._job + job_id

    def node(self, node_id: str) -> str:
        """Key of a node's record."""
        return self._node + node_id

    def request(self, client_id: str, request_id: str) -> str:
        """Key that binds a request to its job.

        Both ids are percent-encoded: users choose them, and "a:b" + "c" must not meet "a" + "b:c".
        """
        return f"{self._request}{_encoded(client_id)}:{_encoded(request_id)}"

    def fixed_types(self) -> dict[str, str]:
        """The keys that exist once, each with its Redis type."""
        return {self.schema: "string", self.jobs: "set", self.open: "set", self.nodes: "set", self.speed: "hash"}


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")

"""A real Redis for the bugs that were about one."""

from tests.support.redis import peek, prefix, redis_server, redis_url, store

__all__ = ["peek", "prefix", "redis_server", "redis_url", "store"]

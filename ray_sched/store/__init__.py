"""The one source of truth: Redis, its keys, and the embedded server that stands in when no ``redis_url`` is given."""

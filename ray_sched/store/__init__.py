"""The one source of truth: Redis, its keys, and the embedded server that is started when no ``redis_url`` is given.

It owns keys, schema, migrations and the data directory. It never knows what a record means: it implements
``core.ports.Store``.
"""

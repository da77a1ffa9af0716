"""What crosses between processes: bytes checked while decoded, and batches that need no waiting.

It owns how messages travel: codec, outbox, tokens, audio batches, and the protocols behind which Ray is. It never
decides what is sent, and never names Ray.
"""

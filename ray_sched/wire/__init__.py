"""What crosses between processes: bytes checked while decoded, and batches that need no waiting."""

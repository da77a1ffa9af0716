"""The pure part: decisions only. No Ray, Redis, asyncio, clock, chance or logging."""

"""The agent's brain: what runs on its node, what is refused, and what has still to be reported.

It is the last guard against overselling. It never sees audio itself, and never decides about jobs.
"""

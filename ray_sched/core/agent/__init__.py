"""The agent's brain: what runs on its node, what is refused, what is reported and when, and what is in its memory.

The last guard against overselling. It never touches audio, never decides about jobs, and knows no clock or network.
"""

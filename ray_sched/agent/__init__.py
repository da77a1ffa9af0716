"""A node's side: the agent's shell, the host of its engine, the engine protocol and the engines.

It owns audio and speech in the node's memory, and the engine's threads and processes. What runs, is refused and is
reported it never decides: that is ``core.agent``.
"""

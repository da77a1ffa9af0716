"""The node's side: the agent, the engine protocol and the engines."""

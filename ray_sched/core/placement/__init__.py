"""Which node a job goes to, and why not the others.

It owns the nodes as the Dispatcher sees them, their learned speeds and the policy. It never changes a job, never
decides which job is next, and knows nothing of the Dispatcher's brain, which it serves.
"""

"""Which node a job goes to, and why not the others.

It owns the nodes as the Dispatcher sees them, their learned speeds and the policy. It never changes a job, and never
decides which job is next.
"""

"""The Dispatcher's brain: it owns jobs, from admission to clean-up.

It decides which are taken, which attempt is where, when a job has ended and what its submitter is told. It never sees
audio, and never decides which nodes are healthy or how many slots they have: nodes and leases are facts it is told.
"""

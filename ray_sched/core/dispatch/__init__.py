"""The Dispatcher's brain: it owns jobs, from admission to clean-up.

It decides which are admitted, which attempt is where, when a job has ended and what its submitter is notified of. It
never has audio, and never decides which nodes are healthy or how many slots they have: nodes and leases are facts it
is given.
"""

"""Leases of slots: their states, and the Pool that gives them out.

The Pool's brain is the only authority on how many slots of a node may be used. It never sees a job.
"""

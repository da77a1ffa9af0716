"""Leases of slots: their states, and the Pool that gives them out.

The Pool's brain is the only authority on how many slots of a node may be used. It never sees a job, and never says
which slot a job gets: that is the Dispatcher's, who acquires and releases leases.
"""

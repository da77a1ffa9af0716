"""The NodeRegistry's brain: which nodes there are, how they are, and which pool each belongs to.

It owns declarations, incarnations, health and membership. It never sees a job.
"""

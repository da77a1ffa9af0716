"""Read models: jobs, nodes and pools as people see them.

They read the brains and change nothing.
"""

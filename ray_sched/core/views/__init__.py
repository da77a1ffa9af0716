"""Read models: jobs, nodes and pools as people see them, and transcripts as players do.

They read the brains and change nothing.
"""

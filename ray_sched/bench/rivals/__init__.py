"""What a user would pick instead, each written the way its own documentation advises.

These are Ray programs of their own, so Ray is spelled here; they use nothing of the scheduler.
"""

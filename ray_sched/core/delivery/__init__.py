"""What reaches a submitter, and in which order: sessions, their gaps, and the mailbox of each client.

It owns the order of results. It never decides how a job ends.
"""

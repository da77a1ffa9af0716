"""The client's brain: what a submitter does with answers and mail, in any order and however often they come.

It owns a client's jobs, its place in the mail, and the ledger of its audio. It never awaits, encodes or reads audio,
and knows no futures: ``ray_sched.client`` carries out its effects, and so does the simulation in virtual time.
"""

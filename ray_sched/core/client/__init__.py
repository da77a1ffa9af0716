"""The client's brain: what a submitter does with answers and mail, in any order and however often they come.

It owns a client's jobs, its place in the mail, and the ledger of its audio. It never awaits, encodes or reads audio,
and knows no futures: ``ray_sched.client`` carries out its effects, and so does the simulation in virtual time.

Why its parts are right together, told by one sequence: the Dispatcher dies after it has taken a job, before it says so.

1. ``Submissions.ask`` has numbered the question. No reply comes: ``call_failed`` asks for a resync, and the shell sends
   the batch again.
2. The Dispatcher that is started again answers in a new epoch. ``Inbox.begin`` makes the old one a past epoch, and
   ``Submissions.ask_again`` asks anew for every job that was taken in it. Submits are idempotent.
3. Then come the answers of that reply, ``Submissions.accept``, and last its mail: ``Inbox.take`` gives each event once,
   and asks for a resync where one is missing.
4. A poll may have brought events of a job before the answer that names it: ``HeldEvents`` keeps them until every
   question asked before they came is answered. An assignment that no submission has by then is cancelled.
5. Late mail of a past epoch counts for nothing, and a yes of a past epoch is asked again (``Inbox.is_past``): what that
   Dispatcher took, the present one may not know.
"""

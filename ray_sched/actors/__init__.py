"""The shells of the control actors: Dispatcher, NodeRegistry, Pool and Timer.

Each receives calls, hands them to its brain as facts, saves what is decided and performs the other effects. It owns
the waiting: commits, outboxes, mailboxes, background work. It never decides, and never names Ray or Redis.
"""

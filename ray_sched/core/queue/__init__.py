"""Which jobs wait, and which is next: the order of waiting jobs, and fair shares between tenants and flows.

It owns the order alone. It never looks at nodes, and never starts, ends or changes a job.
"""

"""What a monitoring system sees: the table of metrics, what the brains' counters say of them, dashboards and alerts.

It reads brains and writes nothing itself: the package ``system`` writes samples through Ray, the gateway as a page.
"""

"""The command line: each verb parses, calls and prints, and is a file of its own.

It owns options, output and exit statuses. It never does what a verb is for: that is in ``system``, ``client`` and
``bench``.
"""

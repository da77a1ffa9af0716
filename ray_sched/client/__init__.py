"""The library that users import: submit, push, poll, results, audio sources.

It owns the audio of what was submitted, and the futures, streams and tasks of its user. What is sent, repeated, pushed
and given up it never decides: that is ``core.client``.
"""

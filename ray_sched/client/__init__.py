"""The library users import: submit, push, poll, results, audio sources."""

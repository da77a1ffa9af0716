"""Audio as recorders, browsers and services leave it, made by code: no test of the decoder needs a file."""

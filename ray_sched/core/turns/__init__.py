"""One spoken session: what of its audio becomes which utterance, and what its client is told, in which order."""

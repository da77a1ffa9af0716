"""Programs that measure and that a person runs, each on a machine with nothing else to do; none of them is a test."""

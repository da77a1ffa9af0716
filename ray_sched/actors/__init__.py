"""The control actors' shells: each awaits, saves and tells what its brain decided, and decides nothing."""

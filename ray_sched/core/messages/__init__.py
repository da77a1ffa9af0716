"""Messages between actors, agents and clients, one module for each two that send them. Nothing is decided here."""

"""What actors, agents and clients say to each other, one module for each two that speak. Nothing is decided here."""

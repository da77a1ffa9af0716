"""Programs of other people's libraries, unmodified: each says what it has heard as one line of JSON."""

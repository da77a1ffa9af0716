"""Where the utterances of a long recording begin and end."""

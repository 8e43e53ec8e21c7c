"""The log of a terminal, and where it is kept."""

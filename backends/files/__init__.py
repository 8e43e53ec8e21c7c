"""Files where sessions run: by commands, and as tar archives from places that nobody trusts."""

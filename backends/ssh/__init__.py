"""Sessions on other machines, over SSH."""

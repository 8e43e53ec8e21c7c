"""The holder: a small process that owns shells, so that the service may die.

This package uses the standard library and ptyprocess, nothing else, and runs on Python >= 3.8: it is also packed
as one file that runs on other machines.
"""

SOCKET = "holder.sock"
"""In a holder's directory."""

EXIT_HELD = 3
"""The exit code of a holder whose directory has one already."""

"""The core: sessions, terminals and who may do what with them."""

__version__ = "0.1.0"

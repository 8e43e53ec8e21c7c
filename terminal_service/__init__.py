"""The core: sessions, terminals and who may do what with them."""

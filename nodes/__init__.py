"""The other processes of this service: which of them live, which session is whose, and mail between them."""

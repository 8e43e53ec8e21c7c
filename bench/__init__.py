"""Measures this service beside its peers in one run: `python -m bench` (see docs/performance.md)."""

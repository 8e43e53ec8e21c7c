"""Sessions on Google Cloud Workstations, over SSH through their tunnel."""

"""Sessions in pods of a Kubernetes cluster."""

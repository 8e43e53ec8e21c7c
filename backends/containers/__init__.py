"""Sessions in containers of Docker or Podman."""

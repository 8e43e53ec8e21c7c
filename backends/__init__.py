"""Where a shell runs: this machine, and later SSH hosts, pods and containers."""

"""Start the service: `python run.py`."""

from __future__ import annotations

from terminal_service.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())

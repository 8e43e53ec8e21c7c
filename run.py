"""Start the service from a checkout: `python run.py`."""

from terminal_service.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())

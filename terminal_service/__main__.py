"""The program: `terminal-service`, `python -m terminal_service`, `python run.py`. What it does is in `command`."""

from __future__ import annotations

import gc
import signal


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code.

    Ctrl-C while code is still being loaded ends it without a word: nothing has begun, so nothing is to be undone.
    """
    gc.disable()  # a fifth of the time to load goes into looking for garbage; the service takes it up when it serves
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from terminal_service import command  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, before)
    return command.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())

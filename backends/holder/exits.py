"""How a child has ended, without a wait."""

from __future__ import annotations

import os


def peek(pid: int) -> dict[str, int] | None:
    """Return how a child ended, leaving it a zombie where the system can; None while it lives."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return None
        return {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else {"code": os.WEXITSTATUS(status)}
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if result is None:
        return None
    return {"code" if result.si_code == os.CLD_EXITED else "signal": result.si_status}


def reap(pid: int) -> bool:
    """Release a child's number if it has ended; tell whether that is done."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True

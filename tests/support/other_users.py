"""Other users of this machine, for tests that root runs: who they are, and how to be them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.holder import SOCKET
from backends.holder.users import open_code
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).resolve().parents[2]

SERVICE, ANN, BOB, FORBIDDEN = "games", "daemon", "nobody", "mail"
"""Users that every system has and nothing runs as."""

CAPABILITIES = ("setuid", "setgid", "chown", "kill", "sys_ptrace", "dac_read_search")
"""What is left of root's rights to a holder: as in docs/os-users.md."""

# What the user cannot reach (a home directory of root's, where this Python may be) is shown to it elsewhere, in a
# mount namespace of its own: nobody else sees that, and no mode is changed. $1: a directory for the mounts, $2: words
# that run the command, $3: what is to be seen, $4: what is in the way.
_SHOW = """
set -e
stash=$1 run=$2 wanted=$3 covered=$4
shift 4
number=0
for path in $wanted; do
    number=$((number + 1))
    mkdir -p "$stash/$number"
    mount --rbind "$path" "$stash/$number"
done
for path in $covered; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
number=0
for path in $wanted; do
    number=$((number + 1))
    mkdir -p "$path"
    mount --rbind "$stash/$number" "$path"
done
cd "$PWD"
exec $run "$@"
"""


def need_root() -> None:
    """Skip the test if this process may not be other users."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be other users")
    if place := open_code():
        pytest.skip(f"{place} can be changed by other users than root")


def uid_of(user: str) -> int:
    return pwd.getpwnam(user).pw_uid


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Give a directory that every user can get to, which those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="other-users-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def private_directory(path: Path, user: str) -> Path:
    """Make a directory of a user's own."""
    path.mkdir(mode=0o700)
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def private_file(path: Path, user: str, text: str, mode: int = 0o600) -> Path:
    """Make a file of a user's own."""
    path.write_text(text)
    path.chmod(mode)
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def prefix_of(user: str, stash: Path | None = None) -> list[str]:
    """Return the words that run a command as a user, without any right of root's.

    With a directory for mounts that command can run this Python and this repository, wherever they are.
    """
    entry = pwd.getpwnam(user)
    words = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    words += ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    if stash is None:
        return words
    wanted = sorted({Path(sys.prefix), Path(sys.base_prefix), ROOT})
    covered = {closed for path in wanted if (closed := _closed(path, entry))}
    if not covered:
        return words
    if subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip(f"user {user} cannot read {', '.join(map(str, covered))}, and there are no mount namespaces")
    hidden = [str(path) for path in wanted if any(path.is_relative_to(closed) for closed in covered)]
    shown = " ".join(hidden), " ".join(sorted(map(str, covered)))
    return ["unshare", "--mount", "sh", "-c", _SHOW, "sh", str(stash), " ".join(words), *shown]


def _closed(path: Path, entry: pwd.struct_passwd) -> Path | None:
    """Return the first directory on the way that is closed to a user."""
    for directory in (*reversed(path.parents), path):
        status = directory.stat()
        mine = status.st_mode >> 6 if status.st_uid == entry.pw_uid else status.st_mode
        if not mine & 0o1:
            return directory
    return None


@contextlib.asynccontextmanager
async def guarded_holder(
    directory: Path, *, user: str = SERVICE, run_as: str = f"{ANN},{BOB}"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a holder as root, for a service of another user; whatever it then has is ended."""
    process = await start_guarded_holder(directory, user=user, run_as=run_as)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def start_guarded_holder(
    directory: Path, *, user: str = SERVICE, run_as: str = f"{ANN},{BOB}"
) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "backends.holder", str(directory), "--allow-user", user, "--run-as", run_as)
    bounded = ("setpriv", "--bounding-set=-all," + ",".join(f"+{name}" for name in CAPABILITIES), *command)
    socket = directory / SOCKET
    socket.unlink(missing_ok=True)  # of one that was killed
    process = await asyncio.create_subprocess_exec(*bounded, cwd=ROOT)

    def is_ready() -> bool:
        assert process.returncode is None, "the holder has ended"
        with contextlib.suppress(FileNotFoundError):
            return socket.stat().st_uid == uid_of(user)
        return False

    await wait_until(is_ready, description="the holder to listen")
    return process

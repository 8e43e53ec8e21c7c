"""From a `Program` to one that runs on another machine: what is asked there, and what its answers mean."""

from __future__ import annotations

import os
import posixpath
import secrets
from typing import TYPE_CHECKING, Any

from backends.environment import MARK, check_program, child_environment, complete_base
from backends.errors import DirectoryNotFound, InvalidProgram, OutOfResources, ShellNotFound, Unreachable, UserRefused
from backends.executable import CannotExecute, exec_failed
from backends.failed_pty import tell_failure
from backends.held_child import Tag
from backends.holder.fork import Plan
from backends.holder_link import HolderError
from backends.shells import shell_arguments, shell_files, sorted_shells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backends.base import Program, Pty, Sink
    from backends.durable.boot import Surroundings
    from backends.durable.target import Reached

_OF_THE_LINK = frozenset({"SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "DISPLAY", "XDG_SESSION_ID"})
"""What ends with the link in the environment of an SSH login; elsewhere these were set by whoever made the place."""
_OF_THE_BRIDGE = frozenset({"_", "OLDPWD", "PWD", "SHLVL", MARK})


def base_environment(surroundings: Surroundings) -> dict[str, str]:
    """Return what programs there begin with: all that the place has, for it is not this service's."""
    had = surroundings.environment
    left_out = _OF_THE_BRIDGE | (_OF_THE_LINK if "SSH_CONNECTION" in had else frozenset())
    kept = {name: value for name, value in had.items() if name not in left_out}
    return complete_base(kept, user=surroundings.user, home=surroundings.home, shell=surroundings.shell)


async def find_shells(reached: Reached, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the shells there, the user's own first. Raises HolderError."""
    environment = base_environment(reached.surroundings) if environment is None else environment
    looked = await _look(reached, shell_files(), environment, "/")
    return sorted_shells([word for word, found in looked["files"].items() if "file" in found], environment)


async def start_program(reached: Reached, program: Program, sink: Sink) -> Pty:
    """Start a program there; see `Environment.spawn`. Raises BackendError."""
    surroundings = reached.surroundings
    if program.user not in (None, surroundings.user):
        reason = f"programs of this backend run as {surroundings.user!r}"
        raise UserRefused(str(program.user), reason)
    tag = Tag(program.session_id, secrets.token_hex(16), program.note)
    environment = child_environment(base_environment(surroundings), program, tag.mark)
    check_program(program)
    try:
        plan, word = await _make_plan(reached, program, environment)
        return await _spawn(reached, plan, sink, tag=tag, word=word, has_cwd=program.cwd is not None)
    except CannotExecute as failure:
        return tell_failure(failure, sink)
    except HolderError as error:
        if error.error:
            raise
        raise Unreachable(str(error)) from error


async def _make_plan(reached: Reached, program: Program, environment: Mapping[str, str]) -> tuple[Plan, str]:
    """Return what is to be executed, and the word it is known by."""
    cwd = posixpath.join(environment["HOME"], program.cwd or "")
    if program.command is None:
        command = await _shell_command(reached, program, environment)
    else:
        command = list(program.command)
    word, *arguments = command
    looked = await _look(reached, [word], environment, cwd)
    trouble = looked.get("directory")
    if trouble and program.cwd is not None:
        raise DirectoryNotFound(cwd, os.strerror(trouble))
    found = looked["files"][word]
    if "file" not in found:
        raise exec_failed(word, int(found["errno"]), found=False)
    size = (program.rows, program.cols)
    return Plan(found["file"], arguments, "/" if trouble else cwd, dict(environment), size), word


async def _shell_command(reached: Reached, program: Program, environment: Mapping[str, str]) -> list[str]:
    shells = await find_shells(reached, environment)
    shell = program.shell or next(iter(shells), "sh")
    if shell not in shells:
        raise ShellNotFound(shell, shells)
    return shell_arguments(shell, keeps_path="PATH" in program.env)


async def _look(reached: Reached, words: Sequence[str], environment: Mapping[str, str], cwd: str) -> dict[str, Any]:
    return (await reached.link.call("look", words=list(words), path=environment["PATH"], cwd=cwd)).fields


async def _spawn(reached: Reached, plan: Plan, sink: Sink, *, tag: Tag, word: str, has_cwd: bool) -> Pty:
    """Execute a program; a text without an interpreter is a shell script, as for execvp(3)."""
    try:
        return await reached.link.spawn(plan, sink, tag=tag)
    except HolderError as error:
        failed = error
    match failed.error:
        case {"kind": "exec", "text": True} if plan.file != "/bin/sh":
            script = plan._replace(file="/bin/sh", arguments=[plan.file, *plan.arguments])
            return await _spawn(reached, script, sink, tag=tag, word=word, has_cwd=has_cwd)
        case {"kind": "exec", "errno": int(number)}:
            raise exec_failed(word, number, found=True)
        case {"kind": "prepare", "why": str(reason)} if has_cwd:
            raise DirectoryNotFound(plan.cwd, reason)
        case {"kind": "prepare"} if plan.cwd != "/":
            return await _spawn(reached, plan._replace(cwd="/"), sink, tag=tag, word=word, has_cwd=has_cwd)
        case {"kind": "user", "reason": str(reason)}:
            raise UserRefused(plan.user or reached.surroundings.user, reason)
        case {"kind": "exhausted", "reason": str(reason)}:
            raise OutOfResources(reason)
        case {"kind": "bad_request", "reason": str(reason)}:
            raise InvalidProgram("command", reason)
    raise failed

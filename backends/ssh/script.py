"""The lines of POSIX shell that run on a host: to start a program, to look around, to signal and to end programs.

Programs are started by a line that the user's login shell reads, whichever it is; all else comes to `/bin/sh` on its
standard input, so it is neither quoted nor seen in a list of processes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# No backslash, newline or exclamation mark: shells that are not like sh treat them differently between quotes.
# $1 nonce, $2 mark, $3 session, $4 directory, $5 names of variables, $6 "tty" or nothing, $7 a PATH or nothing (sshd
# sets its own whatever it accepts); the rest is the program.
_START = """
_tn=$1 _tm=$2 _ts=$3 _td=$4 _tv=$5 _tt=$6 _tp=$7; shift 7; unset CDPATH;
if [ "$_tp" ]; then PATH=$_tp; export PATH; fi;
TERMINAL_PROCESS_TREE=$_tm; TERMINAL_SESSION_ID=$_ts; export TERMINAL_PROCESS_TREE TERMINAL_SESSION_ID;
if [ "$_tt" ]; then
    COLORTERM=${COLORTERM-truecolor}; export COLORTERM;
    if [ -z "$LC_ALL$LC_CTYPE$LANG" ]; then LANG=C.UTF-8; export LANG; fi;
fi;
if [ "$_td" ]; then
    cd -- "$_td" 2>/dev/null || {
        if [ -d "$_td" ]; then _tr=EACCES; elif [ -e "$_td" ]; then _tr=ENOTDIR; else _tr=ENOENT; fi;
        echo "$_tn directory $_tr."; exit 0;
    };
fi;
_tx=; for _tk in $_tv; do eval "_tu="'${'$_tk'+y}'; if [ -z "$_tu" ]; then _tx="$_tx $_tk"; fi; done;
_tr=none;
case $1 in
*/*)
    if [ -d "$1" ]; then _tr=EISDIR; elif [ -x "$1" ]; then _tr=; elif [ -e "$1" ]; then _tr=EACCES;
    else _tr=ENOENT; fi;;
*)
    IFS=:; set -f;
    for _tp in $PATH; do
        if [ -f "${_tp:-.}/$1" ]; then
            if [ -x "${_tp:-.}/$1" ]; then _tr=; break; fi;
            _tr=EACCES;
        fi;
    done;
    unset IFS; set +f;;
esac;
if [ "$_tr" ]; then echo "$_tn command $_tr."; exit 0; fi;
echo "$_tn started $$$_tx."; exec "$@"
"""
_START = re.sub(r"\s+", " ", _START).strip()

# What is under /proc (Linux), or what ps tells. Zombies are not there any more. Lines are not taken with `read`, which
# asks for each byte.
_MEMBERS = """
newline='
'
zero=; if printf 'a\\0b' | grep -qz '^b' 2>/dev/null; then zero=-z; fi
look() {
    all=; found=' '
    if [ -r /proc/self/stat ]; then
        lines=$(cat /proc/[0-9]*/stat 2>/dev/null)
        set -f; IFS=$newline
        for line in $lines; do
            unset IFS
            each=${line%% *}
            set -- ${line##*) }
            case $1 in Z|X) continue;; esac
            all="$all $each:$2"
            if [ "$4" = "$leader" ]; then found="$found$each "; fi
        done
        unset IFS; set +f
        all="$all "
        for entry in $(grep -ls $zero "^TERMINAL_PROCESS_TREE=$mark" /proc/[0-9]*/environ 2>/dev/null); do
            each=${entry#/proc/}; each=${each%/environ}
            case $all in *" $each:"*) ;; *) continue;; esac
            case $found in *" $each "*) ;; *) found="$found$each ";; esac
        done
    else
        lines=$(ps -A -o pid= -o ppid= -o pgid= -o state=)
        IFS=$newline
        for line in $lines; do
            unset IFS
            set -- $line
            case $4 in Z*) continue;; esac
            all="$all $1:$2"
            if [ "$1" = "$leader" ] || [ "$3" = "$leader" ]; then found="$found$1 "; fi
        done
        unset IFS
    fi
    grown=y
    while [ "$grown" ] && [ "$found" != ' ' ]; do
        grown=
        for pair in $all; do
            case $found in *" ${pair#*:} "*) ;; *) continue;; esac
            case $found in *" ${pair%:*} "*) ;; *) found="$found${pair%:*} "; grown=y;; esac
        done
    done
}
"""

# Graces are in hundredths of a second.
_END = """
now=0
tick() {
    if [ -r /proc/uptime ]; then
        read -r now rest < /proc/uptime; now=1${now%.*}${now#*.}
    else
        now=$((now + 10))
    fi
}
send() {
    told=' '; turn=0; tick; until=$((now + $1))
    while :; do
        look
        if [ "$found" = ' ' ]; then echo ended; exit 0; fi
        for each in $found; do
            case $told in *" $each "*) continue;; esac
            told="$told$each "
            for name in $2; do kill -s "$name" "$each" 2>/dev/null; done
        done
        tick
        if [ $now -ge $until ]; then return; fi
        if [ $turn -lt 5 ]; then sleep 0.02 2>/dev/null || sleep 1; else sleep 0.1 2>/dev/null || sleep 1; fi
        turn=$((turn + 1))
    done
}
trap '' HUP
send $grace 'HUP CONT'; send $grace 'TERM CONT'; send $last KILL
look; if [ "$found" = ' ' ]; then echo ended; else echo "left$found"; fi
exit 0
"""

_SIGNAL = """
if [ -r /proc/self/stat ]; then
    { read -r line < "/proc/$leader/stat"; } 2>/dev/null || { echo gone; exit 0; }
    set -- ${line##*) }; group=$6
else
    group=$(ps -o tpgid= -p "$leader") || { echo gone; exit 0; }
fi
if [ "$group" -gt 0 ] 2>/dev/null && kill -s "$name" -- "-$group"; then echo sent; else echo refused; fi
exit 0
"""

# An interrupt that overtakes what was typed before it, if the key is one now.
_INTERRUPT = """
if [ -r /proc/self/stat ]; then
    { read -r line < "/proc/$leader/stat"; } 2>/dev/null || { echo gone; exit 0; }
    set -- ${line##*) }; group=$6
else
    group=$(ps -o tpgid= -p "$leader") || { echo gone; exit 0; }
fi
set -- $(ps -o tty= -p "$leader")
modes=" $(stty -a < "/dev/$1" | tr '\n' ' ') "
case $modes in *" -isig "*) echo key; exit 0;; esac
case $modes in *" intr = ^C;"*) ;; *) echo key; exit 0;; esac
if [ "$group" -gt 0 ] 2>/dev/null && kill -s INT -- "-$group"; then echo sent; else echo refused; fi
exit 0
"""

_LOOK = """
if [ -z "$SHELL" ]; then SHELL=/bin/sh; fi
echo "shell $SHELL"
while read -r line; do
    case $line in /*) if [ -x "$line" ]; then echo "known $line"; fi;; esac
done 2>/dev/null < /etc/shells
env | while read -r line; do
    case $line in PATH=*|HOME=*|LANG=*|LANGUAGE=*|LC_*=*|TZ=*|USER=*|TMPDIR=*) echo "variable $line";; esac
done
exit 0
"""

LAST_SECONDS = 1.0
"""At least this long is waited for killed processes to disappear."""

SHELL = "exec /bin/sh -s"
"""Reads what is said to it on standard input; as a command of any login shell."""


def start_line(
    argv: Sequence[str],
    *,
    nonce: str,
    mark: str,
    session: str,
    cwd: str,
    names: Iterable[str],
    tty: bool,
    path: str,
    shell: str,
) -> str:
    """Return the command by which a login shell starts a program.

    It first prints a line: `NONCE started PID MISSING-NAMES.`, `NONCE directory ERRNO.` or `NONCE command ERRNO.`
    (`none`: no such command). `shell`: the path of the login shell. `path`: the PATH, if one was asked for.
    """
    if cwd and not cwd.startswith("/"):
        cwd = f"./{cwd}"
    wanted = " ".join(name for name in names if _NAME.fullmatch(name))
    words = ("/bin/sh", "-c", _START, "sh", nonce, mark, session, cwd, wanted, "tty" if tty else "", path, *argv)
    return "exec " + " ".join(quote(word, shell) for word in words)


def quote(word: str, shell: str = "") -> str:
    """Return a word as a login shell has it between single quotes."""
    kind = shell.rpartition("/")[2]
    if kind == "fish":
        word = word.replace("\\", "\\\\")
    elif kind in ("csh", "tcsh"):
        word = word.replace("!", "\\!").replace("\n", "\\\n")
    return "'" + word.replace("'", "'\"'\"'") + "'"


def end_script(leader: int, mark: str, grace_seconds: float) -> str:
    """Return the script that ends a program's session, what carries its mark, and all their descendants."""
    grace, last = round(100 * grace_seconds), round(100 * max(grace_seconds, LAST_SECONDS))
    return f"leader={leader} mark={mark} grace={grace} last={last}\n{_MEMBERS}{_END}"


def signal_script(leader: int, name: str) -> str:
    """Return the script that signals the foreground process group of a program's terminal."""
    return f"leader={leader} name={name}\n{_SIGNAL}"


def interrupt_script(leader: int) -> str:
    """Return the script that interrupts the foreground programs, or says `key`: the key is an ordinary byte now."""
    return f"leader={leader}\n{_INTERRUPT}"


def look_script() -> str:
    """Return the script that tells the login shell, the shells that are known, and some variables."""
    return _LOOK

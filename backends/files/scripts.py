r"""Scripts of the POSIX shell that do what `abilities.Files` promises, where there is a shell and nothing better.

They need sh and the common tools (those of BusyBox are enough) and take names as arguments, never as text of a
script; each byte of a name that is not plain comes as `\0ooo`, because an API on the way may carry nothing but
text. What went wrong is said by the exit code, found out by looking, not by reading messages. Names of files begin
with `/` or `./`, so none is ever taken for an option.
"""

from __future__ import annotations

import re

from backends.abilities import FileTrouble

MISSING, EXISTS, DENIED, WRONG_KIND, NOT_EMPTY, FAILED = range(64, 70)
OF_TARGET = 10
"""Added to the code if it is the second name's trouble."""

TROUBLES = {
    MISSING: (FileTrouble.MISSING, "there is no such file or directory"),
    EXISTS: (FileTrouble.EXISTS, "it exists already"),
    DENIED: (FileTrouble.DENIED, "permission denied"),
    WRONG_KIND: (FileTrouble.WRONG_KIND, "it, or what is above it, is not of the kind that is needed here"),
    NOT_EMPTY: (FileTrouble.NOT_EMPTY, "the directory is not empty"),
}

_PLAIN = re.compile(rb"[^A-Za-z0-9._/-]")

_COMMON = f"""
LC_ALL=C TZ=UTC0; export LC_ALL TZ; unset CDPATH TAR_OPTIONS
of=0
stop() {{ exit $(($1 + of)); }}
decode() {{ decoded=$(printf '%bx' "$1"); decoded=${{decoded%x}}; }}
exists() {{ [ -e "$1" ] || [ -h "$1" ]; }}
above() {{ case $1 in ?*/*) above=${{1%/*}} ;; *) above=/ ;; esac; }}
reach() {{ # stop if the directory that $1 is in is not there, or closed
    above "$1"; set -- "$above"
    if [ -d "$1" ]; then [ -x "$1" ] || stop {DENIED}; return; fi
    reach "$1"
    exists "$1" && stop {WRONG_KIND}
    stop {MISSING}
}}
need() {{ exists "$1" || {{ reach "$1"; stop {MISSING}; }}; }}
may_change() {{ above "$1"; [ -w "$above" ] && [ -x "$above" ] || stop {DENIED}; }}
decode "$1"; p=$decoded
"""

_FRAMES = """
full=iflag=fullblock
dd $full count=0 </dev/null >/dev/null 2>&1 || full=
frames() { # copy frames from 0 to 3: a line with size and number of its blocks, then these; the last line is `end`
    while read -r size number; do
        [ "$size" = end ] && return 0
        if [ -n "$full" ]; then said=$(dd "bs=$size" "count=$number" $full 2>&1 >&3)
        else said=$(dd bs=1 "count=$((size * number))" 2>&1 >&3); fi || { printf '%s\\n' "$said" >&2; return 1; }
    done
    return 1
}
"""

_SHOW = """
if stat -c %s / >/dev/null 2>&1; then
    facts() { stat -c '%f %s %Y %n//' "$@" 2>/dev/null; }
else
    facts() {
        for f; do
            set -f; set -- $(ls -ldn "$f" 2>/dev/null); set +f
            case $5 in *,) set -- "$1" 0 0 0 0 "$7" "$8" "$9" ;; esac
            [ $# -lt 8 ] || printf 'ls %s %s %s %s %s %s//\\n' "$1" "$5" "$6" "$7" "$8" "$f"
        done
    }
fi
if command -v readlink >/dev/null; then target() { readlink "$1"; }
else target() { said=$(ls -ldn "$1"; printf x); said=${said%x}; printf %s "${said#*" $1 -> "}"; }; fi
show() {
    facts "$@"
    for f; do if [ -h "$f" ]; then printf 'link %s//' "$f"; target "$f"; printf '\\0'; fi; done
}
"""

STAT = f"""{_COMMON}{_SHOW}
need "$p"
show "$p"
"""

LIST = f"""{_COMMON}{_SHOW}
need "$p"
[ -d "$p" ] || stop {WRONG_KIND}
[ -r "$p" ] && [ -x "$p" ] || stop {DENIED}
cd "$p" || stop {FAILED}
set --
for each in ./* ./.[!.]* ./..?*; do
    exists "$each" || continue
    set -- "$@" "$each"
    if [ $# -ge 64 ]; then show "$@"; set --; fi
done
[ $# -eq 0 ] || show "$@"
exit 0
"""

READ = f"""{_COMMON}
need "$p"
[ -f "$p" ] || stop {WRONG_KIND}
[ -r "$p" ] || stop {DENIED}
if [ "$2" = 0 ]; then exec cat "$p"; else exec tail -c "+$(($2 + 1))" "$p"; fi
"""

_PART = """
if [ -h "$p" ] && behind=$(readlink -f "$p" && printf x); then p=${behind%?x}; fi # the link stays
above "$p"; t=$above/.$2.part
"""

WRITE = f"""{_COMMON}{_FRAMES}{_PART}
reach "$p"
[ -d "$p" ] && stop {WRONG_KIND}
may_change "$p"
(umask 077; set -C; : >"$t") || stop {FAILED}
trap 'rm -f "$t"' EXIT
trap 'exit 1' HUP INT PIPE TERM
frames 3>>"$t" && chmod "$3" "$t" && mv -f "$t" "$p" || stop {FAILED}
trap - EXIT
"""

DISCARD = f"""{_COMMON}{_PART}
rm -f "$t"
"""

MAKE_DIRECTORY = f"""{_COMMON}
if [ "$2" = parents ]; then mkdir -p "$p" && exit; else mkdir "$p" && exit; fi
exists "$p" && stop {EXISTS}
if [ "$2" = parents ]; then
    above "$p"
    while ! exists "$above"; do p=$above; above "$p"; done
fi
reach "$p"
may_change "$p"
stop {FAILED}
"""

REMOVE = f"""{_COMMON}
need "$p"
if [ -h "$p" ] || ! [ -d "$p" ]; then rm -f "$p" && exit
elif [ "$2" = recursive ]; then rm -rf "$p" && exit
else
    rmdir "$p" && exit
    for each in "$p"/* "$p"/.[!.]* "$p"/..?*; do exists "$each" && stop {NOT_EMPTY}; done
fi
may_change "$p"
stop {FAILED}
"""

RENAME = f"""{_COMMON}
decode "$2"; t=$decoded
need "$p"
[ "$p" = "$t" ] && exit
of={OF_TARGET}
reach "$t"
plain=
if [ -h "$t" ]; then plain=-T # or it would be moved to where the link leads
elif [ -d "$t" ]; then [ -d "$p" ] && ! [ -h "$p" ] && stop {EXISTS}; stop {WRONG_KIND}; fi
if [ -d "$p" ] && ! [ -h "$p" ] && exists "$t"; then stop {WRONG_KIND}; fi
mv -f $plain "$p" "$t" && exit
may_change "$t"
of=0
may_change "$p"
stop {FAILED}
"""

_ENTER = f"""{_COMMON}
need "$p"
[ -d "$p" ] || stop {WRONG_KIND}
[ -x "$p" ] && cd "$p" || stop {DENIED}
"""

PACK = f"""{_ENTER}
[ -r . ] || stop {DENIED}
exec tar -cf - .
"""

UNPACK = f"""{_ENTER}{_FRAMES}
[ -w . ] || stop {DENIED}
{{ frames 3>&1 1>&2 || : ; }} | tar -xof -
"""


def argument(path: str) -> str:
    """Return a path as the scripts take it. Raises ValueError: no file can have that name."""
    if not path or "\0" in path:
        raise ValueError("no name, or one with a NUL byte")
    path = re.sub("/+", "/", path)
    path = (path if path.startswith("/") else f"./{path}").rstrip("/") or "/"
    return _PLAIN.sub(lambda byte: b"\\0%03o" % byte[0][0], path.encode("utf-8", "surrogateescape")).decode()

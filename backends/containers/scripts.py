"""What runs in a container beside the programs asked for: scripts for any POSIX `sh`, busybox's too, without `ps`.

Each is run as `sh -c SCRIPT sh ARGUMENTS`.
"""

from __future__ import annotations

# Starts a program and says before that how it went, in one line `TOKEN LETTER TEXT`:
#   S pid   started: what follows is the program's
#   W pid   as S, but the size could not be set from within: it waits for one line before it goes on
#   D text  the directory cannot be entered
#   N text  no such command: 127; X text  it cannot be executed: 126
# Arguments: TOKEN ROWS COLUMNS DIRECTORY COMMAND...; without a terminal ROWS is 0; DIRECTORY "": home, or / without it.
LAUNCH = r"""
token=$1 rows=$2 cols=$3 cwd=$4
shift 4
say() { printf '%s %s %s\n' "$token" "$1" "$2"; }
stop() { say "$1" "$2"; exit "$3"; }
if [ -z "$cwd" ]; then
    cd -P -- "$HOME" 2>/dev/null || cd /
else
    case $cwd in /*) ;; *) cwd=$HOME/$cwd ;; esac
    if ! cd -P -- "$cwd" 2>/dev/null; then
        [ -e "$cwd" ] || stop D "No such file or directory" 126
        [ -d "$cwd" ] || stop D "Not a directory" 126
        stop D "Permission denied" 126
    fi
fi
case $1 in
*/*)
    [ -e "$1" ] || stop N "No such file or directory" 127
    [ ! -d "$1" ] || stop X "Is a directory" 126
    [ -x "$1" ] || stop X "Permission denied" 126
    ;;
*)
    found= ifs=$IFS IFS=:
    set -f
    for place in $PATH; do
        place=${place:-.}/$1
        [ -f "$place" ] || continue
        found=no
        [ ! -x "$place" ] || { found=yes; break; }
    done
    set +f
    IFS=$ifs
    case $found in
    yes) ;;
    no) stop X "Permission denied" 126 ;;
    *) stop N "command not found" 127 ;;
    esac
    ;;
esac
if [ "$rows" = 0 ] || stty rows "$rows" cols "$cols" 2>/dev/null; then
    say S $$
else
    say W $$
    read -r rows
fi
exec "$@"
"""

# Signals the foreground process group of a terminal whose session leader is PID. Arguments: PID SIGNAL.
SIGNAL = r"""
number=$2
{ read -r line < "/proc/$1/stat"; } 2>/dev/null || exit 3
set -- ${line##*) }
group=$6
[ "$group" -gt 0 ] 2>/dev/null || group=$3
kill "-$number" "-$group"
"""

# Tells whether the interrupt key of a terminal interrupts: prints `key` or `byte`. Arguments: PID.
KEY = r"""
case $(stty -a < "/proc/$1/fd/0" 2>/dev/null) in
*-isig*) echo byte ;;
*isig*) echo key ;;
*) echo byte ;;
esac
"""

# Ends what belongs to a program: its session's processes and those that carry its mark, wherever they went.
# Arguments: PID (or 0) MARK STEPS (of 0.1 s, which each of HUP, TERM and KILL is given). Exit 1: some do not end.
END = r"""
leader=$1 mark=$2 steps=$3
list() {
    for place in /proc/[0-9]*; do
        { read -r line < "$place/stat"; } 2>/dev/null || continue
        set -- ${line##*) }
        case $1 in Z|X) continue ;; esac
        [ "$leader" = 0 ] || [ "$4" != "$leader" ] || printf '%s ' "${place#/proc/}"
    done
    grep -ls -e "TERMINAL_PROCESS_TREE=$mark" /proc/[0-9]*/environ 2>/dev/null | while read -r place; do
        place=${place#/proc/}
        printf '%s ' "${place%/environ}"
    done
}
for name in HUP TERM KILL; do
    found=$(list)
    [ -n "$found" ] || exit 0
    kill "-$name" $found 2>/dev/null
    [ $name = KILL ] || kill -CONT $found 2>/dev/null
    left=$steps
    [ $name != KILL ] || left=20
    while [ "$left" -gt 0 ]; do
        sleep 0.1
        found=$(list)
        [ -n "$found" ] || exit 0
        left=$((left - 1))
    done
done
exit 1
"""

# Tells who programs run as and what there is: lines of `NAME VALUE`. Arguments: names of shells to look for.
LOOK = r"""
uid=$(id -u 2>/dev/null) || uid=
[ -n "$uid" ] || while read -r name value rest; do [ "$name" != Uid: ] || uid=$value; done < /proc/self/status
user= home= shell=
while IFS=: read -r name _ id _ _ place program; do
    [ "$id" != "$uid" ] || [ -n "$user" ] || user=$name home=$place shell=$program
done < /etc/passwd 2>/dev/null
printf 'uid %s\nuser %s\nhome %s\nshell %s\npath %s\n' "$uid" "$user" "$home" "$shell" "$PATH"
IFS=:
for name; do
    for place in $PATH; do
        [ ! -f "$place/$name" ] || [ ! -x "$place/$name" ] || { printf 'has %s\n' "$name"; break; }
    done
done
"""

# Prints how many processes the kernel has killed here for want of memory (cgroup 2, then 1); nothing: not known.
KILLS = r"""
for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    { while read -r name value; do [ "$name" != oom_kill ] || { echo "$value"; exit 0; }; done < "$file"; } 2>/dev/null
done
exit 0
"""

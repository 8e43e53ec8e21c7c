"""The last line of a terminal's output that shows anything, as plain text: for a list of sessions, not for a screen.

What moves the cursor within a line is followed (carriage return, backspace, tab, the sequences that editing a
command line uses); what leaves the line begins another one; colours and everything else is left out. Every
character counts one column. What was drawn on the other screen (by an editor, a pager) is gone with it.
"""

from __future__ import annotations

import re

TAIL_BYTES = 1024
"""How much of the end of the output is looked at: some 15 µs for a shell, 2 ms for the worst that can be in it."""
LIMIT_CHARACTERS = 200

_COLUMNS_LIMIT = 1000  # as many as a terminal has here
_TAB_COLUMNS = 8
_JOINER = "\u200d"  # of the characters that show nothing the one that emoji need

# ECMA-48, 5.4, 5.6 and 8.3.89. A string ends at any escape, as in xterm. All of these take linear time.
_STRING = re.compile(r"\x1b[\]PX^_][^\x07\x18\x1a\x1b]*+(?:\x07|\x1b\\)?")
_SWITCH = re.compile(r"\x1b\[\?(?:47|1047|1049)([hl])")
_STYLE = re.compile(r"\x1b\[[0-9;:]*+m")
_ELSEWHERE = re.compile(r"[\n\v\f]|\x1b\[(?:[0-9;]*+[ABEFHLMSTdf]|[23]J)|\x1b[78DEMc]")
_MOVES = re.compile(r"[\x1b\r\b\t]")
_TOKEN = re.compile(
    r"(?P<text>[^\x1b\r\b\t]++)|(?P<control>[\r\b\t])"
    r"|\x1b\[(?P<parameter>[0-?]*+)[ -/]*+(?P<final>[@-~])?|\x1b(?:[ -/]*+[0-~])?"
)


def last_line(tail: bytes, *, is_cut: bool = False) -> str | None:
    """Return the last line that shows anything, None if none does; never raises.

    `tail` is the end of the output, `is_cut` if something was before it. What is returned holds no control
    character and at most `LIMIT_CHARACTERS`.
    """
    text = tail.decode("utf-8", "ignore")
    text = _STRING.sub("", _from_whole(text) if is_cut else text)
    for line in reversed(_ELSEWHERE.split(_on_this_screen(text, is_cut=is_cut))):
        shown = _shown(_edited(line))
        if shown:
            return shown
    return None


def _from_whole(text: str) -> str:
    """Leave out the rest of a line, or of a sequence, whose beginning is not there."""
    end = re.search(r"[\n\a]|\x1b\\|(?=\x1b)", text)
    return text[end.end() :] if end else text


def _on_this_screen(text: str, *, is_cut: bool) -> str:
    """Leave out what is on the screen that is not looked at: of the main and the alternate one (DECSET 1049)."""
    kept: list[str] = []
    begin, is_alternate, is_known = 0, False, not is_cut
    for switch in _SWITCH.finditer(text):
        sets = switch[1] == "h"
        if not is_alternate and (sets or is_known):
            kept.append(text[begin : switch.start()])
        begin, is_alternate, is_known = switch.end(), sets, True
    return text[begin:] if is_alternate else "\n".join([*kept, text[begin:]])


def _edited(line: str) -> str:
    """Return what is left of a line after the cursor has moved about in it."""
    line = _STYLE.sub("", line).rstrip("\r")
    if _MOVES.search(line) is None:
        return line
    cells: list[str] = []
    column = 0
    for token in _TOKEN.finditer(line):
        if text := token["text"]:
            cells += " " * (column - len(cells))
            cells[column : column + len(text)] = text
            column = min(column + len(text), _COLUMNS_LIMIT)
        elif control := token["control"]:
            column = _moved(column, control)
        elif final := token["final"]:
            column = _obey(cells, column, token["parameter"], final)
        del cells[_COLUMNS_LIMIT:]
    return "".join(cells)


def _moved(column: int, control: str) -> int:
    if control == "\t":
        return min(column + _TAB_COLUMNS - column % _TAB_COLUMNS, _COLUMNS_LIMIT)
    return max(0, column - 1) if control == "\b" else 0


def _obey(cells: list[str], column: int, parameter: str, final: str) -> int:
    """Carry out a control sequence that edits a line (ECMA-48, 8.3); return where the cursor is then."""
    is_number = parameter.isdigit() and len(parameter) < len(str(_COLUMNS_LIMIT))
    count = max(1, int(parameter)) if is_number else 1
    match final:
        case "C":
            return min(column + count, _COLUMNS_LIMIT)
        case "D":
            return max(0, column - count)
        case "G" | "`":
            return count - 1
        case "K" | "J" if parameter in {"", "0"}:
            del cells[column:]
        case "K" if parameter in {"1", "2"}:
            cells[: column if parameter == "1" else None] = " " * min(column, len(cells))
        case "P":
            del cells[column : column + count]
        case "X":
            cells[column : column + count] = " " * len(cells[column : column + count])
        case "@" if column < len(cells):
            cells[column:column] = " " * count
        case _:
            pass
    return column


def _shown(line: str) -> str:
    """Return what can be shown of it anywhere."""
    line = line.strip()
    if not line.isprintable():
        line = "".join(_plain(each) for each in line).strip()
    return line[:LIMIT_CHARACTERS].rstrip()


def _plain(character: str) -> str:
    if character.isprintable() or character == _JOINER:
        return character
    return " " if character.isspace() else ""

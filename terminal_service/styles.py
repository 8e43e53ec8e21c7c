"""What a list of styles (the parameters of SGR, ECMA-48 8.3.117) comes to: the attributes still in effect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# One attribute: a colour with its values (ITU-T T.416, as everybody writes it, with semicolons), or one number.
_ATTRIBUTE = re.compile(rb"(?:38|48|58);(?:5;[0-9]*|2;[0-9]*;[0-9]*;[0-9]*)|[0-9:]+|(?<=;)(?=;)|^(?=;)|(?<=;)$")

_FOREGROUND, _BACKGROUND, _UNDERLINE, _BLINK, _FONT = 30, 40, 4, 5, 10
_GROUPS = {
    **dict.fromkeys([*range(30, 39), *range(90, 98)], _FOREGROUND),
    **dict.fromkeys([*range(40, 49), *range(100, 108)], _BACKGROUND),
    **dict.fromkeys([4, 21], _UNDERLINE),
    **dict.fromkeys([5, 6], _BLINK),
    **dict.fromkeys(range(11, 20), _FONT),
    **{code: code for code in (1, 2, 3, 7, 8, 9, 53, 58)},
}
_ENDS = {
    10: (_FONT,),
    22: (1, 2),
    23: (3,),
    24: (_UNDERLINE,),
    25: (_BLINK,),
    27: (7,),
    28: (8,),
    29: (9,),
    39: (_FOREGROUND,),
    49: (_BACKGROUND,),
    55: (53,),
    59: (58,),
}


def combine(styles: Iterable[bytes]) -> list[bytes]:
    """Return one short style per attribute in effect after `styles`; at most one for each of thirteen groups."""
    effect: dict[int, bytes] = {}
    for style in styles:
        for match in _ATTRIBUTE.finditer(style or b"0"):
            _apply(effect, match[0])
    return list(effect.values())


def _apply(effect: dict[int, bytes], attribute: bytes) -> None:
    digits = re.split(rb"[;:]", attribute, maxsplit=1)[0]
    code = int(digits) if digits else 0
    if code == 0:
        effect.clear()
    elif attribute == b"4:0":  # no underline, in the form with subparameters
        effect.pop(_UNDERLINE, None)
    elif code in _ENDS:
        for group in _ENDS[code]:
            effect.pop(group, None)
    elif code in _GROUPS:
        effect.pop(_GROUPS[code], None)
        effect[_GROUPS[code]] = attribute

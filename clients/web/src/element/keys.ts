// What a keyboard would send: for keys of a bar on the screen. The codes are xterm's (ctlseqs, "PC-Style Function Keys").

export interface Modifiers {
  ctrl?: boolean;
  alt?: boolean;
  shift?: boolean;
}

/** Keys that send CSI 1 ; m X, or SS3 X without modifiers where the program asked for application cursor keys. */
const CURSOR = new Map(
  Object.entries({ ...{ ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", End: "F", Home: "H" } }),
);
/** Keys that send SS3 X without modifiers, always. */
const SS3 = new Map(Object.entries({ F1: "P", F2: "Q", F3: "R", F4: "S" }));
/** Keys that send CSI n ~. */
const TILDE = new Map(
  Object.entries({
    ...{ Insert: 2, Delete: 3, PageUp: 5, PageDown: 6 },
    ...{ F5: 15, F6: 17, F7: 18, F8: 19, F9: 20, F10: 21, F11: 23, F12: 24 },
  }),
);
const PLAIN = new Map(Object.entries({ Enter: "\r", Escape: "\x1b", Tab: "\t", Backspace: "\x7f", Space: " " }));
/** With Ctrl, beside the letters: @ [ \ ] ^ _ ? and what US keyboards have for them. */
const CONTROLS = new Map(
  Object.entries({
    ...{ "@": "\0", " ": "\0", "[": "\x1b", "\\": "\x1c", "]": "\x1d", "^": "\x1e", _: "\x1f", "?": "\x7f" },
    ...{ "2": "\0", "3": "\x1b", "4": "\x1c", "5": "\x1d", "6": "\x1e", "7": "\x1f", "8": "\x7f", "/": "\x1f" },
  }),
);

/** Return what a key sends: a name as in KeyboardEvent.key, or one character. Null if there is no such key. */
export function keySequence(name: string, modifiers: Modifiers, applicationCursor: boolean): string | null {
  const { ctrl = false, alt = false, shift = false } = modifiers;
  const code = 1 + (shift ? 1 : 0) + (alt ? 2 : 0) + (ctrl ? 4 : 0);
  const letter = CURSOR.get(name) ?? SS3.get(name);
  if (letter !== undefined) {
    if (code > 1) return `\x1b[1;${code}${letter}`;
    return `\x1b${SS3.has(name) || applicationCursor ? "O" : "["}${letter}`;
  }
  const number = TILDE.get(name);
  if (number !== undefined) return code > 1 ? `\x1b[${number};${code}~` : `\x1b[${number}~`;
  if (name === "Tab" && shift) return "\x1b[Z";
  const text = PLAIN.has(name) ? namedText(name, ctrl) : characterText(name, ctrl, shift);
  return text === null ? null : alt ? `\x1b${text}` : text;
}

function namedText(name: string, ctrl: boolean): string {
  if (ctrl && name === "Backspace") return "\b";
  if (ctrl && name === "Space") return "\0";
  return PLAIN.get(name) ?? "";
}

function characterText(name: string, ctrl: boolean, shift: boolean): string | null {
  if ([...name].length !== 1) return null;
  if (!ctrl) return shift ? name.toUpperCase() : name;
  if (/^[a-z]$/i.test(name)) return String.fromCharCode(name.toUpperCase().charCodeAt(0) - 64);
  return CONTROLS.get(name) ?? name;
}

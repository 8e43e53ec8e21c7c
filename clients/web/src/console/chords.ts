// Key chords: how they are written, read from a key event, and shown.
//
// Terminals get every key that a shell or an editor binds, and browsers keep theirs. What is left is Ctrl+Shift and
// Ctrl+Alt with Enter, arrows, digits and the like. F1 alone is the program's while a terminal has the keyboard.

/** Parts in the order Ctrl, Alt, Shift, key, joined by "+": "Ctrl+Shift+P". The key is as in `KeyboardEvent.code` or a letter. */
export type Chord = string;

export interface KeyLike {
  readonly key: string;
  readonly code: string;
  readonly ctrlKey: boolean;
  readonly altKey: boolean;
  readonly shiftKey: boolean;
  readonly metaKey: boolean;
  getModifierState?(name: string): boolean;
}

/** Return the chord that was pressed; null for a modifier alone, for text being composed, and with the system's key. */
export function chordOf(event: KeyLike): Chord | null {
  if (event.metaKey || event.key === "Process" || event.key === "Dead") return null;
  if (["Control", "Shift", "Alt", "AltGraph", "Meta"].includes(event.key)) return null;
  // AltGr arrives as Ctrl+Alt, and is for typing.
  if (event.getModifierState?.("AltGraph")) return null;
  const parts = [event.ctrlKey && "Ctrl", event.altKey && "Alt", event.shiftKey && "Shift", keyOf(event)];
  return parts.filter(Boolean).join("+");
}

/** A letter, or a question mark, is what the layout says it is, where it is Latin; all else goes by its place on the keyboard. */
function keyOf({ key, code }: KeyLike): string {
  if (/^[a-z]$/i.test(key)) return key.toUpperCase();
  if (key === "?") return key;
  if (code === "NumpadEnter") return "Enter";
  return code.replace(/^(?:Key|Digit)(?=.$)/, "") || key;
}

const SIGNS: Record<string, string> = {
  ...{ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" },
  ...{ Comma: ",", Period: ".", Equal: "+", Minus: "−", Backspace: "⌫", Digit0: "0" },
};
const SPOKEN: Record<string, string> = { "⌫": "Backspace", "←": "Left", "→": "Right", "↑": "Up", "↓": "Down" };
const MAC: Record<string, string> = { Ctrl: "⌃", Alt: "⌥", Shift: "⇧", Enter: "↩" };

/** Return the caps to draw: ["Ctrl", "Shift", "P"]. */
export function capsOf(chord: Chord, mac = false): string[] {
  return chord.split("+").map((part) => {
    const sign = SIGNS[part] ?? part;
    return mac ? (MAC[sign] ?? sign) : sign;
  });
}

/** Return the chord in words, for titles and screen readers. */
export function spoken(chord: Chord): string {
  return capsOf(chord)
    .map((cap) => SPOKEN[cap] ?? cap)
    .join("+");
}

/** Return what `aria-keyshortcuts` wants to read. */
export function ariaChord(chord: Chord): string {
  return chord.replace("Ctrl", "Control");
}

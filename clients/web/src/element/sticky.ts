// Modifiers held by a key bar on the screen for what is typed next, on whatever keyboard. Pure.
import { keySequence, type Modifiers } from "./keys.ts";

/** Return what a character sends with modifiers; null if `data` is not one character, or none is held. */
export function withModifiers(data: string, modifiers: Modifiers): string | null {
  const isHeld = modifiers.ctrl || modifiers.alt || modifiers.shift;
  return isHeld && [...data].length === 1 ? keySequence(data, modifiers, false) : null;
}

// Where key events become commands: before any part of the page, a terminal included, sees them.
import { act, activeElement } from "./act.ts";
import { chordOf } from "./chords.ts";
import type { Host } from "./command.ts";
import { commandFor } from "./commands.ts";

/** Listen to the window's keys for as long as the page lives, or until the returned function is called. */
export function watchKeys(host: Host & EventTarget): () => void {
  const onKey = (event: KeyboardEvent): void => {
    const chord = event.isComposing ? null : chordOf(event);
    const command = chord && commandFor(chord, placeOf(event) === "page");
    if (!command || !isHeard(command.id, event)) return;
    event.preventDefault(); // also where there is nothing to do now: it must not become input
    event.stopImmediatePropagation();
    act(host, command.id);
  };
  window.addEventListener("keydown", onKey, { capture: true });
  return () => window.removeEventListener("keydown", onKey, { capture: true });
}

/** Dialogs keep the keyboard, but what opened one closes it too. */
function isHeard(command: string, event: KeyboardEvent): boolean {
  const dialog = event.composedPath().find((each) => each instanceof HTMLDialogElement);
  if (!dialog && !isField(event)) return true;
  const opener = dialog?.getRootNode();
  if (dialog) return opener instanceof ShadowRoot && opener.host.localName === OPENERS[command];
  return !/^pane-|^close-pane$/.test(command); // in a field, arrows and Backspace with modifiers are for its text
}

const OPENERS: Record<string, string> = { palette: "command-palette", help: "shortcuts-help" };

function isField(event: KeyboardEvent): boolean {
  return placeOf(event) === "field";
}

/** Whose keys these are: a program's, a field's, or nobody's in particular. */
function placeOf(event: KeyboardEvent): "terminal" | "field" | "page" {
  const target = activeElement() ?? event.target;
  if (!(target instanceof Element)) return "page";
  if (target.closest(".xterm")) return "terminal";
  return target.matches("input, textarea, select, [contenteditable]") ? "field" : "page";
}

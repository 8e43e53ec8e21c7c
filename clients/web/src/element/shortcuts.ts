// The few keys that are the element's and not the program's. All others are sent, as far as the browser gives them to us.
import type { Terminal } from "@xterm/xterm";

export interface ShortcutActions {
  /** Put the selection into the clipboard. */
  copy(): void;
  find(): void;
  /** Leave the terminal by keyboard. */
  leave(): void;
}

/**
 * Ctrl+Shift+C copies, Ctrl+Shift+V pastes (by the browser itself, which needs no permission for that), Ctrl+Shift+F finds,
 * Ctrl+F6 leaves the terminal, so that Tab, which belongs to the program, is no trap for the keyboard (WCAG 2.1.2).
 * Shift+PageUp and Shift+PageDown scroll (xterm.js). Who only looks on leaves with Tab too.
 *
 * Browsers keep for themselves, and no page can have them: Ctrl+W, Ctrl+T, Ctrl+N, Ctrl+Tab, Ctrl+PageUp/PageDown, often
 * Ctrl+Shift+N/T/W, F11 and Alt+F4; a page in full screen, or installed as an app, gets most of them.
 */
export function bindShortcuts(terminal: Terminal, isReadOnly: () => boolean, actions: ShortcutActions): void {
  terminal.attachCustomKeyEventHandler((event) => {
    if (isReadOnly() && event.key === "Tab") return false;
    const action = actionOf(event, actions);
    if (action === null) return true;
    if (event.type === "keydown" && action !== "browser") {
      event.preventDefault();
      event.stopPropagation();
      action();
    }
    return false;
  });
}

function actionOf(event: KeyboardEvent, actions: ShortcutActions): (() => void) | "browser" | null {
  if (!event.ctrlKey || event.altKey || event.metaKey) return null;
  if (event.key === "F6" && !event.shiftKey) return actions.leave;
  if (!event.shiftKey) return null;
  if (event.code === "KeyC") return actions.copy;
  if (event.code === "KeyF") return actions.find;
  if (event.code === "KeyV") return "browser";
  return null;
}

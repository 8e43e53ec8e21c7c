// Marks the place where output is missing: a line drawn between rows, not bytes, so that no cursor and no row moves.
import type { IDecoration, IMarker, Terminal } from "@xterm/xterm";
import type { Events } from "../client/types.ts";
import { gapText } from "./texts.ts";

type Reason = Events["gap"]["reason"];

interface Mark {
  marker: IMarker;
  lostBytes: number;
  reason: Reason;
  label: HTMLElement | null;
}

/** More than this are not kept apart: the oldest ones go. */
const MOST = 200;

/** The marks of one terminal. They scroll with its lines and go with them; full-screen programs hide them. */
export class GapMarkers {
  readonly #terminal: Terminal;
  #marks: Mark[] = [];

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Mark a gap at the line where the cursor is; one that falls on the line of the last is added to it. */
  add(lostBytes: number, reason: Reason): void {
    const { baseY, cursorY } = this.#terminal.buffer.normal;
    const last = this.#marks.at(-1);
    if (last && !last.marker.isDisposed && last.marker.line === baseY + cursorY) {
      last.lostBytes += lostBytes;
      if (last.label) last.label.textContent = gapText(last.lostBytes, last.reason);
      return;
    }
    if (this.#terminal.buffer.active.type === "alternate") return; // has no lines that stay
    const marker = this.#terminal.registerMarker(0);
    const mark: Mark = { marker, lostBytes, reason, label: null };
    const decoration = this.#terminal.registerDecoration({ marker, width: this.#terminal.cols, layer: "top" });
    if (!decoration) return;
    decoration.onRender((element) => this.#draw(mark, decoration, element));
    this.#marks.push(mark);
    for (const old of this.#marks.splice(0, Math.max(0, this.#marks.length - MOST))) old.marker.dispose();
  }

  #draw(mark: Mark, decoration: IDecoration, element: HTMLElement): void {
    if (mark.label !== null && element.contains(mark.label)) return;
    element.classList.add("gap");
    element.setAttribute("role", "separator");
    const label = element.ownerDocument.createElement("span");
    label.part.add("gap");
    label.textContent = gapText(mark.lostBytes, mark.reason);
    element.replaceChildren(label);
    mark.label = label;
    decoration.onDispose(() => element.remove());
  }
}

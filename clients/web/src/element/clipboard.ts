// The clipboard of the visitor: what programs may do with it (write, after a yes; read, never), and copying a selection.
import type { IDisposable, Terminal } from "@xterm/xterm";
import { readClipboardRequest } from "./osc52.ts";

/** What the visitor said to programs that want to write: holds for one session on this page. */
export type Permission = "ask" | "always" | "never";

export interface ClipboardListener {
  /** A program waits for a yes; null: nobody waits any more. */
  asks(text: string | null): void;
  failed(message: string): void;
}

/** Serves OSC 52 for one terminal. */
export class ProgramClipboard {
  readonly #listener: ClipboardListener;
  readonly #isOld: () => boolean;
  #permission: Permission = "ask";
  #waiting: string | null = null;

  /** `isOld` tells whether what is being parsed is old output: it asked long ago. */
  constructor(listener: ClipboardListener, isOld: () => boolean) {
    this.#listener = listener;
    this.#isOld = isOld;
  }

  attach(terminal: Terminal): IDisposable {
    return terminal.parser.registerOscHandler(52, (payload) => {
      if (!this.#isOld()) this.#take(payload);
      return true; // nobody else sees it: a read is not answered at all
    });
  }

  /** Answer who waits. */
  answer(how: "once" | Permission): void {
    const text = this.#waiting;
    this.#waiting = null;
    this.#listener.asks(null);
    if (how === "always" || how === "never") this.#permission = how;
    if (text !== null && (how === "once" || how === "always")) void this.#write(text);
  }

  #take(payload: string): void {
    const request = readClipboardRequest(payload);
    if (request.kind === "invalid")
      this.#listener.failed(`a program's text for the clipboard was refused: ${request.why}`);
    if (request.kind !== "write" || this.#permission === "never" || request.text === "") return;
    if (this.#permission === "always") void this.#write(request.text);
    else {
      this.#waiting = request.text; // the last one counts, as on a clipboard
      this.#listener.asks(request.text);
    }
  }

  async #write(text: string): Promise<void> {
    if (!(await copyText(text))) this.#listener.failed("the browser did not let the program's text into the clipboard");
  }
}

/** Put text into the clipboard; must come from a click or a key where the browser wants that. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text); // without HTTPS there is no navigator.clipboard
  }
}

function copyByCommand(text: string): boolean {
  const give = (event: ClipboardEvent) => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("copy", give, { capture: true });
  try {
    return document.execCommand("copy");
  } finally {
    document.removeEventListener("copy", give, { capture: true });
  }
}

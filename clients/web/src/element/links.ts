// Addresses in the terminal: shown in full before they are opened, opened only on purpose, and only web and mail.
import { WebLinksAddon } from "@xterm/addon-web-links";
import type { IBufferRange, ILinkHandler, Terminal } from "@xterm/xterm";
import { isMisleading, type LinkTarget, safeTarget } from "./link_check.ts";

/** A link that the pointer is on: what it says, where it leads. */
export interface HoveredLink {
  uri: string;
  target: LinkTarget | null;
  misleading: boolean;
  x: number;
  y: number;
}

export interface LinkListener {
  hovered(link: HoveredLink | null): void;
  /** Open it, after asking if `ask`. */
  open(link: { uri: string; text: string; target: LinkTarget; ask: boolean }): void;
}

/** Serves both kinds of links: those that programs make (OSC 8), whose text may say anything, and addresses in the text. */
export class Links {
  readonly #listener: LinkListener;
  #terminal: Terminal | null = null;
  #byTouch = false;

  constructor(listener: LinkListener) {
    this.#listener = listener;
  }

  /** What the terminal's options take. Other protocols are let in here to be refused by name. */
  readonly handler: ILinkHandler = {
    allowNonHttpProtocols: true,
    activate: (event, uri, range) => this.#activate(event, uri, this.#textOf(range)),
    hover: (event, uri, range) => this.#hover(event, uri, this.#textOf(range)),
    leave: () => this.#listener.hovered(null),
  };

  /** Find addresses in a terminal's text too. `area` is where it is touched. */
  attach(terminal: Terminal, area: HTMLElement, signal: AbortSignal): void {
    this.#terminal = terminal;
    const pointer = (event: PointerEvent) => {
      this.#byTouch = event.pointerType === "touch";
    };
    area.addEventListener("pointerdown", pointer, { capture: true, signal });
    terminal.loadAddon(
      new WebLinksAddon((event, uri) => this.#activate(event, uri, uri), {
        hover: (event, uri) => this.#hover(event, uri, uri),
        leave: () => this.#listener.hovered(null),
      }),
    );
  }

  #hover(event: MouseEvent, uri: string, text: string): void {
    if (this.#byTouch) return; // a tap opens or asks at once
    const target = safeTarget(uri);
    const misleading = target !== null && isMisleading(text, target);
    this.#listener.hovered({ uri, target, misleading, x: event.clientX, y: event.clientY });
  }

  // A plain click belongs to the program or begins a selection; a finger has no Ctrl key and no hover, so it is asked.
  #activate(event: MouseEvent, uri: string, text: string): void {
    const target = safeTarget(uri);
    if (target === null || event.button !== 0) return;
    if (!this.#byTouch && !event.ctrlKey && !event.metaKey) return;
    const ask = isMisleading(text, target) || (this.#byTouch && text !== uri);
    this.#listener.open({ uri, text, target, ask });
  }

  #textOf(range: IBufferRange): string {
    const line = this.#terminal?.buffer.active.getLine(range.start.y - 1);
    return line?.translateToString(true, range.start.x - 1, range.end.x) ?? "";
  }
}

/** Open it in a new tab that knows nothing of this page. */
export function openTarget(target: LinkTarget): void {
  window.open(target.href, "_blank", "noopener,noreferrer");
}

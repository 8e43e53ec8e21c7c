// The find bar at work: opened, asked, told what was found, closed.
import { nothing } from "lit";
import { type FindActions, type FindBar, findBar, newFindBar } from "./find_bar.ts";
import type { FindOptions, Found } from "./finder.ts";

/** The element that the bar belongs to. */
export interface FindHost {
  readonly renderRoot: ParentNode;
  readonly updateComplete: Promise<boolean>;
  readonly terminal: { getSelection(): string } | null;
  requestUpdate(): void;
  focus(): void;
  /** Throws SyntaxError for a bad expression, and what a module throws that could not be loaded. */
  find(text: string, options: FindOptions): Promise<boolean>;
  clearFind(): void;
}

export class FindControl {
  #bar: FindBar | null = null;
  readonly #host: FindHost;
  readonly #actions: FindActions = {
    find: (options) => void this.#find(options),
    change: (bar) => {
      if (this.#bar) Object.assign(this.#bar, bar);
      void this.#find({ incremental: true });
    },
    close: () => this.#close(),
  };

  /** Begin closed. */
  constructor(host: FindHost) {
    this.#host = host;
  }

  /** Open the bar, or give it the keyboard; one line that is selected is what to look for. */
  async open(): Promise<void> {
    this.#bar ??= newFindBar();
    const selected = this.#host.terminal?.getSelection() ?? "";
    if (selected && !selected.includes("\n")) this.#bar.text = selected;
    this.#host.requestUpdate();
    await this.#host.updateComplete;
    this.#host.renderRoot.querySelector<HTMLInputElement>(".find-text")?.select();
  }

  /** Show how many there are, and which of them this is. */
  tell(found: Found | null): void {
    if (this.#bar) this.#bar.found = found;
    this.#host.requestUpdate();
  }

  render() {
    return this.#bar ? findBar(this.#bar, this.#actions) : nothing;
  }

  #close(): void {
    this.#bar = null;
    this.#host.clearFind();
    this.#host.requestUpdate();
    this.#host.focus();
  }

  async #find(options: FindOptions): Promise<void> {
    const bar = this.#bar;
    if (!bar) return;
    try {
      bar.error = "";
      await this.#host.find(bar.text, { regex: bar.regex, caseSensitive: bar.caseSensitive, ...options });
    } catch (error) {
      bar.found = null;
      bar.error = error instanceof SyntaxError ? "not a valid expression" : "the search could not be loaded";
    }
    this.#host.requestUpdate();
  }
}

// The bar for finding text, above the terminal's right corner.
import { html } from "lit";
import type { FindOptions, Found } from "./finder.ts";

export interface FindBar {
  text: string;
  regex: boolean;
  caseSensitive: boolean;
  found: Found | null;
  /** What is wrong with the expression. */
  error: string;
}

export interface FindActions {
  find(options: FindOptions): void;
  change(bar: Partial<FindBar>): void;
  close(): void;
}

export function newFindBar(): FindBar {
  return { text: "", regex: false, caseSensitive: false, found: null, error: "" };
}

/** "3 of 17", "nothing found". */
export function foundText(bar: FindBar): string {
  if (bar.error) return bar.error;
  if (bar.text === "" || bar.found === null) return "";
  const { index, count } = bar.found;
  if (count === 0) return "nothing found";
  return index < 0 ? `${count} or more` : `${index + 1} of ${count}`;
}

export function findBar(bar: FindBar, actions: FindActions) {
  const keydown = (event: KeyboardEvent) => {
    if (event.key === "Escape") actions.close();
    else if (event.key === "Enter") actions.find({ backwards: !event.shiftKey });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const input = (event: InputEvent) => {
    if (event.target instanceof HTMLInputElement) actions.change({ text: event.target.value });
  };
  return html`<div class="find" part="find" role="search" @keydown=${keydown}>
    <input
      type="text"
      class="find-text"
      aria-label="Find in the terminal"
      placeholder="Find"
      spellcheck="false"
      autocomplete="off"
      .value=${bar.text}
      @input=${input}
    />
    <span class="count" role="status">${foundText(bar)}</span>
    ${toggle("Aa", "Match upper and lower case", bar.caseSensitive, () =>
      actions.change({ caseSensitive: !bar.caseSensitive }),
    )}
    ${toggle(".*", "Regular expression", bar.regex, () => actions.change({ regex: !bar.regex }))}
    ${button("↑", "Match above", "Above (Enter)", () => actions.find({ backwards: true }))}
    ${button("↓", "Match below", "Below (Shift+Enter)", () => actions.find({}))}
    ${button("✕", "Close", "Close (Esc)", actions.close)}
  </div>`;
}

function toggle(text: string, label: string, on: boolean, change: () => void) {
  return html`<button class="toggle" aria-label=${label} title=${label} aria-pressed=${on} @click=${change}>
    <span aria-hidden="true">${text}</span>
  </button>`;
}

function button(sign: string, label: string, title: string, action: () => void) {
  return html`<button aria-label=${label} title=${title} @click=${action}><span aria-hidden="true">${sign}</span></button>`;
}

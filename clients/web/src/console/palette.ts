// The command palette: everything that can be done and every session, found by a few letters.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { type About, act } from "./act.ts";
import { capsOf } from "./chords.ts";
import { controls } from "./controls.ts";
import { search } from "./fuzzy.ts";
import { type Sign, sign } from "./signs.ts";

export interface Choice {
  readonly title: string;
  /** What is said beside it, and found by it too. */
  readonly detail?: string;
  readonly group: string;
  readonly sign: Sign;
  readonly chord?: string | undefined;
  readonly command: string;
  readonly about?: About;
}

interface Found {
  readonly choice: Choice;
  readonly at: readonly number[];
}

/** More than these nobody reads; another letter finds better ones. */
const SHOWN = 60;

export class CommandPalette extends LitElement {
  static override properties = { found: { state: true }, chosen: { state: true } };
  static override styles = [
    controls,
    css`
      dialog {
        width: min(640px, calc(100vw - 24px));
        margin-top: min(12dvh, 110px);
        max-height: min(560px, 76dvh);
        overflow: hidden;
      }
      dialog[open] {
        display: flex;
        flex-direction: column;
      }
      .ask {
        display: flex;
        align-items: center;
        gap: 10px;
        padding: 4px 14px;
        border-bottom: 1px solid var(--line);
        color: var(--muted);
      }
      input {
        flex: 1;
        min-width: 0;
        min-height: 46px;
        padding: 0;
        border: 0;
        background: transparent;
        color: var(--text);
        font-size: 16px;
      }
      input:focus-visible {
        outline: none; /* the only field of a dialog just opened, with a cursor in it */
      }
      .ask:focus-within {
        box-shadow: inset 0 -2px var(--focus);
      }
      .list {
        flex: 1;
        overflow: auto;
        padding: 6px;
        scroll-padding: 30px 6px;
      }
      .group {
        padding: 8px 10px 3px;
        color: var(--muted);
        font-size: 12px;
        font-weight: 600;
      }
      .option {
        display: flex;
        align-items: center;
        gap: 11px;
        min-height: 36px;
        padding: 5px 10px;
        border-radius: var(--radius-small);
        cursor: pointer;
      }
      .option svg.sign {
        color: var(--muted);
      }
      .option[aria-selected="true"] {
        background: var(--accent-soft);
        box-shadow: inset 3px 0 var(--accent);
      }
      .words {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .detail {
        margin-inline-start: 8px;
        color: var(--muted);
        font-size: 13px;
      }
      [aria-selected="true"] .detail,
      [aria-selected="true"] svg.sign {
        color: var(--text);
      }
      mark {
        background: none;
        color: var(--accent);
        font-weight: 700;
      }
      .caps {
        display: flex;
        gap: 3px;
      }
      .none {
        padding: 26px;
        color: var(--muted);
        text-align: center;
      }
      @media (max-width: 640px), (pointer: coarse) {
        dialog {
          margin-top: 8px;
        }
        .option {
          min-height: 44px;
        }
        .caps {
          display: none;
        }
      }
      @media (forced-colors: active) {
        .option[aria-selected="true"] {
          outline: 2px solid Highlight;
        }
      }
    `,
  ];
  declare found: readonly Found[];
  declare chosen: number;
  #choices: readonly Choice[] = [];

  constructor() {
    super();
    this.found = [];
    this.chosen = 0;
  }

  get isOpen(): boolean {
    return this.#dialog?.open ?? false;
  }

  /** Open with what can be chosen, in the order in which it is shown; again: close. The keyboard returns where it was. */
  open(choices: readonly Choice[]): void {
    if (this.isOpen) {
      this.#dialog?.close();
      return;
    }
    this.#choices = choices;
    this.#dialog?.showModal();
    const input = this.renderRoot.querySelector("input");
    if (input) input.value = "";
    this.#find("");
  }

  override render(): TemplateResult {
    return html`<dialog aria-label="Command palette" @click=${this.#onClick}>
      <div class="ask">
        ${sign("search")}
        <input
          type="text"
          role="combobox"
          autofocus
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          enterkeyhint="go"
          placeholder="What would you like to do?"
          aria-label="Commands and sessions"
          aria-expanded="true"
          aria-controls="list"
          aria-activedescendant=${this.found.length > 0 ? `option-${this.chosen}` : nothing}
          @input=${(event: InputEvent) => this.#find((event.target as HTMLInputElement).value)}
          @keydown=${this.#onKey}
        />
        <kbd aria-hidden="true">Esc</kbd>
      </div>
      <div class="list" id="list" role="listbox" aria-label="Commands and sessions" tabindex="-1">
        ${this.found.map((found, index) => this.#option(found, index))}
      </div>
      ${this.found.length === 0 ? html`<div class="none" role="status">Nothing like that here.</div>` : nothing}
    </dialog>`;
  }

  override updated(changed: PropertyValues): void {
    if (changed.has("chosen") || changed.has("found")) {
      this.renderRoot.querySelector(`#option-${this.chosen}`)?.scrollIntoView({ block: "nearest" });
    }
  }

  #option({ choice, at }: Found, index: number): TemplateResult {
    const heading = this.found[index - 1]?.choice.group !== choice.group;
    const caps = choice.chord ? capsOf(choice.chord) : [];
    return html`${heading ? html`<div class="group" role="presentation">${choice.group}</div>` : nothing}
      <div
        class="option"
        id="option-${index}"
        role="option"
        aria-selected=${index === this.chosen}
        @click=${() => this.#choose(choice)}
        @pointermove=${() => {
          this.chosen = index;
        }}
      >
        ${sign(choice.sign)}
        <span class="words"
          >${marked(choice.title, at)}${choice.detail ? html`<span class="detail">${choice.detail}</span>` : nothing}</span
        >
        ${caps.length > 0 ? html`<span class="caps">${caps.map((cap) => html`<kbd>${cap}</kbd>`)}</span>` : nothing}
      </div>`;
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot.querySelector("dialog");
  }

  #find(query: string): void {
    const found = search(query, this.#choices, ({ title, detail }) => `${title} ${detail ?? ""}`).slice(0, SHOWN);
    this.found = inGroups(found.map(({ item, match }) => ({ choice: item, at: match.at })));
    this.chosen = 0;
  }

  #choose(choice: Choice): void {
    this.#dialog?.close();
    act(this, choice.command, choice.about);
  }

  #onClick(event: MouseEvent): void {
    if (event.target === this.#dialog) this.#dialog?.close(); // the backdrop
  }

  #onKey(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const last = this.found.length - 1;
    const next = {
      ArrowDown: this.chosen >= last ? 0 : this.chosen + 1,
      ArrowUp: this.chosen <= 0 ? last : this.chosen - 1,
      PageDown: Math.min(last, this.chosen + 8),
      PageUp: Math.max(0, this.chosen - 8),
    }[event.key];
    const found = this.found[this.chosen];
    if (next !== undefined) this.chosen = Math.max(0, next);
    else if (event.key === "Enter" && found) this.#choose(found.choice);
    else return;
    event.preventDefault();
  }
}

/** Groups stay together, in the order of their best. */
function inGroups(found: readonly Found[]): Found[] {
  const groups = [...new Set(found.map(({ choice }) => choice.group))];
  return groups.flatMap((group) => found.filter(({ choice }) => choice.group === group));
}

function marked(text: string, at: readonly number[]): (TemplateResult | string)[] {
  const set = new Set(at);
  return [...text.matchAll(/./gsu)].map(({ 0: letter, index }) =>
    set.has(index) ? html`<mark>${letter}</mark>` : letter,
  );
}

customElements.define("command-palette", CommandPalette);

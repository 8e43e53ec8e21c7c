// All key chords on one sheet.
import { css, html, LitElement, type TemplateResult } from "lit";
import { capsOf } from "./chords.ts";
import { controls } from "./controls.ts";
import { sign } from "./signs.ts";

export interface Shortcut {
  readonly title: string;
  readonly group: string;
  readonly chords: readonly string[];
}

export class ShortcutsHelp extends LitElement {
  static override properties = { shortcuts: { state: true } };
  static override styles = [
    controls,
    css`
      dialog {
        width: min(760px, calc(100vw - 24px));
        max-height: min(760px, calc(100dvh - 32px));
        overflow: auto;
      }
      .head {
        position: sticky;
        top: 0;
        display: flex;
        align-items: center;
        justify-content: space-between;
        padding: 12px 12px 12px 22px;
        border-bottom: 1px solid var(--line);
        background: var(--raised);
      }
      h2 {
        margin: 0;
        font-size: 17px;
      }
      .groups {
        columns: 300px 2;
        column-gap: 36px;
        padding: 6px 22px 22px;
      }
      section {
        break-inside: avoid;
        padding-top: 14px;
      }
      h3 {
        margin: 0 0 4px;
        color: var(--muted);
        font-size: 12px;
        font-weight: 600;
      }
      dl {
        margin: 0;
      }
      .row {
        display: flex;
        align-items: center;
        justify-content: space-between;
        gap: 14px;
        padding-block: 4px;
        min-height: 32px;
        border-bottom: 1px solid var(--line);
      }
      dd {
        display: flex;
        flex-wrap: wrap;
        justify-content: flex-end;
        gap: 3px;
        margin: 0;
      }
      .chord {
        display: inline-flex;
        gap: 3px;
      }
      .or {
        padding: 0 3px;
        color: var(--muted);
        font-size: 12px;
      }
      p {
        margin: 0;
        padding: 0 22px 20px;
        color: var(--muted);
      }
    `,
  ];
  declare shortcuts: readonly Shortcut[];

  constructor() {
    super();
    this.shortcuts = [];
  }

  /** Open; again: close. The keyboard returns where it was. */
  open(shortcuts: readonly Shortcut[]): void {
    const dialog = this.#dialog;
    if (dialog?.open) {
      dialog.close();
      return;
    }
    this.shortcuts = shortcuts;
    dialog?.showModal();
  }

  override render(): TemplateResult {
    const groups = [...new Set(this.shortcuts.map(({ group }) => group))];
    return html`<dialog aria-labelledby="title" @click=${this.#onClick}>
      <div class="head">
        <h2 id="title">Keyboard</h2>
        <button type="button" class="icon" aria-label="Close" @click=${() => this.#dialog?.close()}>${sign("close")}</button>
      </div>
      <div class="groups">${groups.map((group) => this.#group(group))}</div>
      <p>
        Every other key goes to the program in the terminal, F1 too as long as it has the keyboard. Browsers that keep
        Ctrl+Shift+P for themselves have Ctrl+F1.
      </p>
    </dialog>`;
  }

  #group(group: string): TemplateResult {
    const rows = this.shortcuts.filter((shortcut) => shortcut.group === group);
    return html`<section>
      <h3>${group}</h3>
      <dl>
        ${rows.map(
          ({ title, chords }) => html`<div class="row">
            <dt>${title}</dt>
            <dd>${chords.map((chord, index) => html`${index > 0 ? html`<span class="or">or</span>` : ""}${keys(chord)}`)}</dd>
          </div>`,
        )}
      </dl>
    </section>`;
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot.querySelector("dialog");
  }

  #onClick(event: MouseEvent): void {
    if (event.target === this.#dialog) this.#dialog?.close();
  }
}

function keys(chord: string): TemplateResult {
  return html`<span class="chord">${capsOf(chord).map((cap) => html`<kbd>${cap}</kbd>`)}</span>`;
}

customElements.define("shortcuts-help", ShortcutsHelp);

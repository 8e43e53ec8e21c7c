// The dialog that asks one thing: a name, some text, or whether it is meant.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { controls } from "./controls.ts";

export interface Question {
  readonly title: string;
  readonly text?: string;
  /** What to write into; without it the question is yes or no. */
  readonly field?: {
    readonly label: string;
    readonly value?: string;
    readonly lines?: boolean;
    readonly limit?: number;
  };
  /** What the button says that does it. */
  readonly confirm: string;
  readonly danger?: boolean;
}

export class ConsoleAsk extends LitElement {
  static override properties = { question: { state: true } };
  static override styles = [
    controls,
    css`
      dialog {
        width: min(440px, calc(100vw - 32px));
      }
      form {
        display: grid;
        gap: 14px;
        padding: 20px;
      }
      h2 {
        margin: 0;
        font-size: 17px;
        line-height: 1.3;
      }
      p {
        margin: 0;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      label {
        display: grid;
        gap: 5px;
        font-weight: 500;
      }
      textarea {
        min-height: 140px;
        resize: vertical;
        font-family: var(--mono);
      }
      .buttons {
        display: flex;
        justify-content: flex-end;
        flex-wrap: wrap;
        gap: 8px;
        margin-top: 4px;
      }
    `,
  ];
  declare question: Question | null;
  #answer: ((answer: string | null) => void) | null = null;

  constructor() {
    super();
    this.question = null;
  }

  /** Resolves to what was written ("" where there is nothing to write), or null if it was not meant. */
  async ask(question: Question): Promise<string | null> {
    this.#finish(null);
    this.question = question;
    await this.updateComplete;
    const dialog = this.renderRoot.querySelector("dialog");
    const field = this.#field;
    if (field) field.value = question.field?.value ?? "";
    dialog?.showModal();
    field?.select();
    return new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  override render(): TemplateResult {
    const { title, text, confirm, danger } = this.question ?? { title: "", confirm: "" };
    return html`<dialog aria-labelledby="title" aria-describedby=${text ? "text" : nothing} @close=${() => this.#finish(null)}>
      <form method="dialog" @submit=${this.#onSubmit}>
        <h2 id="title">${title}</h2>
        ${text ? html`<p id="text">${text}</p>` : nothing} ${this.#input()}
        <div class="buttons">
          <button type="button" @click=${() => this.#finish(null)}>Cancel</button>
          <button type="submit" class=${danger ? "danger" : "primary"}>${confirm}</button>
        </div>
      </form>
    </dialog>`;
  }

  #input(): TemplateResult | typeof nothing {
    const field = this.question?.field;
    if (!field) return nothing;
    return html`<label>
      ${field.label}
      ${
        field.lines
          ? html`<textarea autocapitalize="off" autocomplete="off" spellcheck="false"></textarea>`
          : html`<input type="text" autocomplete="off" maxlength=${field.limit ?? 200} />`
      }
    </label>`;
  }

  get #field(): HTMLInputElement | HTMLTextAreaElement | null {
    return this.renderRoot.querySelector<HTMLInputElement | HTMLTextAreaElement>("input, textarea");
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    this.#finish(this.#field?.value ?? "");
  }

  #finish(answer: string | null): void {
    const resolve = this.#answer;
    this.#answer = null;
    this.renderRoot.querySelector("dialog")?.close();
    resolve?.(answer);
  }
}

customElements.define("console-ask", ConsoleAsk);

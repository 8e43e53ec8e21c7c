// <sign-in>: asks for an API key when the service wants one.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { Api } from "./api.ts";
import { controls } from "./controls.ts";
import { sentence } from "./notes.ts";
import { ApiProblem, explain } from "./problem.ts";
import { sign } from "./signs.ts";

/** Shows itself when the Api says `sign-in-needed`; the key goes to the Api, and is never kept here. */
export class SignIn extends LitElement {
  static override properties = {
    api: { attribute: false },
    trouble: { state: true },
    isBusy: { state: true },
    isShown: { state: true },
  };
  static override styles = [
    controls,
    css`
      dialog {
        width: min(400px, calc(100vw - 32px));
        padding: 22px;
      }
      h2 {
        margin: 0 0 6px;
        font-size: 1.2em;
      }
      p {
        margin: 0 0 14px;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      .trouble {
        padding: 8px 12px;
        border-radius: var(--radius-small);
        background: var(--bad-soft);
        color: var(--text);
      }
      label {
        display: block;
        margin-bottom: 4px;
        font-weight: 600;
      }
      .key {
        display: flex;
        gap: 4px;
        margin-bottom: 16px;
      }
      input {
        flex: 1;
        min-width: 0;
        font-family: var(--mono);
      }
      input[aria-invalid="true"] {
        border-color: var(--bad);
      }
      .bottom {
        display: flex;
        justify-content: end;
        gap: 8px;
      }
    `,
  ];

  declare api: Api | null;
  declare private trouble: string;
  declare private isBusy: boolean;
  /** Whether the key can be read while it is typed. */
  declare private isShown: boolean;
  #abort: AbortController | null = null;

  constructor() {
    super();
    this.api = null;
    this.trouble = "";
    this.isBusy = false;
    this.isShown = false;
  }

  readonly #onNeeded = (): void => void this.show();
  readonly #onSignedIn = (): void => this.#dialog?.close();

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("api")) return;
    const before = changed.get("api");
    before?.removeEventListener("sign-in-needed", this.#onNeeded);
    before?.removeEventListener("signed-in", this.#onSignedIn);
    this.api?.addEventListener("sign-in-needed", this.#onNeeded);
    this.api?.addEventListener("signed-in", this.#onSignedIn);
    if (this.api?.signInProblem) this.#onNeeded(); // it was asked for before we were here
  }

  /** Ask for a key. */
  async show(): Promise<void> {
    await this.updateComplete;
    const dialog = this.#dialog;
    if (!dialog || dialog.open || !this.isConnected) return;
    const problem = this.api?.signInProblem;
    this.trouble = problem && problem.code !== "credentials_missing" ? sentence(explain(problem)) : "";
    dialog.showModal();
  }

  override render(): TemplateResult {
    const isWrong = this.trouble !== "";
    return html`<dialog aria-labelledby="title" @close=${this.#onClose}>
      <form novalidate @submit=${this.#onSubmit}>
        <h2 id="title">Sign in</h2>
        <p>This service wants an API key. It is kept until this tab is closed, or you sign out.</p>
        ${isWrong ? html`<p class="trouble" role="alert" id="trouble">${this.trouble}</p>` : nothing}
        <label for="key">API key</label>
        <div class="key">
          <input
            id="key"
            type=${this.isShown ? "text" : "password"}
            autocomplete="current-password"
            autocapitalize="off"
            spellcheck="false"
            autofocus
            aria-invalid=${isWrong ? "true" : "false"}
            aria-describedby="trouble"
          />
          <button type="button" class="icon" aria-label="Show the key" aria-pressed=${this.isShown} @click=${this.#toggle}>
            ${sign("eye")}
          </button>
        </div>
        <div class="bottom">
          <button type="button" @click=${() => this.#dialog?.close()}>Not now</button>
          <button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Signing in…" : "Sign in"}</button>
        </div>
      </form>
    </dialog>`;
  }

  readonly #toggle = (): void => {
    this.isShown = !this.isShown;
  };

  readonly #onClose = (): void => {
    this.#abort?.abort();
    this.isShown = false;
    const input = this.#input;
    if (input) input.value = "";
  };

  readonly #onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (!this.isBusy) void this.#submit();
  };

  async #submit(): Promise<void> {
    this.isBusy = true;
    this.trouble = "";
    this.#abort = new AbortController();
    try {
      await this.api?.signIn(this.#input?.value ?? "", { signal: this.#abort.signal });
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.trouble = sentence(explain(error));
      if (error instanceof ApiProblem) this.#input?.select();
      this.#input?.focus();
    } finally {
      this.isBusy = false;
    }
  }

  get #input(): HTMLInputElement | null {
    return this.renderRoot?.querySelector<HTMLInputElement>("#key") ?? null;
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot?.querySelector("dialog") ?? null;
  }
}

customElements.define("sign-in", SignIn);

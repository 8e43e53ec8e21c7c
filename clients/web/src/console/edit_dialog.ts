// <edit-session>: the form for what can be changed of a session while it lives.
import { html, LitElement, nothing, type TemplateResult } from "lit";
import type { Api } from "./api.ts";
import { type Edited, editedOf, patchOf } from "./changes.ts";
import { controls } from "./controls.ts";
import { type Choice, focusWrong, type Look, moreInput, pairsField, selectField, textField } from "./form_fields.ts";
import { formStyles } from "./form_styles.ts";
import { spellDuration } from "./format.ts";
import { sentence } from "./notes.ts";
import { ApiProblem, explain } from "./problem.ts";
import { programOf, type Session, titleOf } from "./session.ts";
import { sign } from "./signs.ts";
import { LIFETIMES, POLICIES } from "./wishes.ts";

const FIELDS = ["name", "labels", "ttl_seconds", "size_policy"] as const;

/** Fires `session-changed` {session} with what the service made of it. */
export class EditSession extends LitElement {
  static override properties = {
    api: { attribute: false },
    session: { state: true },
    edited: { state: true },
    errors: { state: true },
    trouble: { state: true },
    isBusy: { state: true },
  };
  static override styles = [controls, formStyles];

  declare api: Api | null;
  declare private session: Session | null;
  declare private edited: Edited | null;
  declare private errors: Readonly<Record<string, string>>;
  declare private trouble: string;
  declare private isBusy: boolean;
  #abort: AbortController | null = null;

  constructor() {
    super();
    this.api = null;
    this.session = null;
    this.edited = null;
    this.errors = {};
    this.trouble = "";
    this.isBusy = false;
  }

  /** Open it for a session as it is now. */
  async show(session: Session): Promise<void> {
    this.session = session;
    this.edited = editedOf(session);
    this.errors = {};
    this.trouble = "";
    await this.updateComplete;
    this.#dialog?.showModal();
  }

  override render(): TemplateResult {
    const { session, edited } = this;
    return html`<dialog aria-labelledby="title" @close=${() => this.#abort?.abort()}>
      <form novalidate @submit=${this.#onSubmit}>
        <div class="top">
          <h2 id="title">Change “<bdi>${session ? titleOf(session) : ""}</bdi>”</h2>
          <button type="button" class="icon" aria-label="Close" @click=${this.#close}>${sign("close")}</button>
        </div>
        <div class="body">
          ${this.trouble ? html`<p class="trouble" role="alert">${this.trouble}</p>` : nothing}
          ${session && edited ? this.#fields(session, edited) : nothing}
        </div>
        <div class="bottom">
          <button type="button" @click=${this.#close}>Cancel</button>
          <button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Changing…" : "Change"}</button>
        </div>
      </form>
    </dialog>`;
  }

  #fields(session: Session, edited: Edited): TemplateResult {
    return html`${textField(this.#look("name", "Name"), edited.name, {
      limit: 200,
      placeholder: programOf(session),
      isFirst: true,
      change: (name) => this.#edit({ name }),
    })}
    ${this.#lifetime(session, edited)}
    ${pairsField(this.#look("labels", "Labels"), edited.labels, {
      noun: "label",
      change: (labels) => this.#edit({ labels }),
    })}
    ${selectField(this.#look("size_policy", "Whose size counts"), edited.policy, {
      choices: Object.entries(POLICIES),
      change: (policy) => this.#edit({ policy }),
    })}`;
  }

  #lifetime(session: Session, edited: Edited): TemplateResult {
    const presets = LIFETIMES.map((seconds): Choice => [String(seconds), spellDuration(seconds)]);
    const look: Look = {
      ...this.#look("ttl_seconds", "Lives without use"),
      hint: edited.lifetime ? "It counts from the change." : nothing,
    };
    const more = moreInput(look, edited.lifetimeText, {
      label: "Time without use",
      placeholder: "90m, 12h, 2d",
      change: (lifetimeText) => this.#edit({ lifetimeText }),
    });
    return selectField(look, edited.lifetime, {
      choices: [
        ["", `${spellDuration(session.ttl_seconds)}, as it is`],
        ["default", "The service’s default"],
        ...presets,
        ["custom", "Another time…"],
      ],
      change: (lifetime) => this.#edit({ lifetime }),
      more: edited.lifetime === "custom" ? more : nothing,
    });
  }

  #look(name: (typeof FIELDS)[number], label: string): Look {
    return { name, label, error: this.errors[name] ?? "" };
  }

  #edit(change: Partial<Edited>): void {
    if (this.edited) this.edited = { ...this.edited, ...change };
  }

  readonly #close = (): void => this.#dialog?.close();

  readonly #onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (!this.isBusy) void this.#submit();
  };

  async #submit(): Promise<void> {
    const { api, session, edited } = this;
    if (!api || !session || !edited) return;
    const { changes, errors } = patchOf(session, edited);
    this.errors = errors;
    this.trouble = "";
    if (Object.keys(errors).length) return this.#showErrors();
    if (Object.keys(changes).length === 0) return this.#close();
    this.isBusy = true;
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const changed = await api.change(session.session_id, changes, { signal });
      this.#close();
      this.dispatchEvent(new CustomEvent("session-changed", { detail: { session: changed } }));
    } catch (error) {
      if (!signal.aborted) await this.#fail(error);
    } finally {
      this.isBusy = false;
    }
  }

  async #fail(error: unknown): Promise<void> {
    const problem = error instanceof ApiProblem ? error : null;
    const found = FIELDS.filter((field) => problem?.forField(field));
    this.errors = Object.fromEntries(found.map((field) => [field, problem?.forField(field) ?? ""]));
    this.trouble = found.length ? "" : sentence(explain(error));
    await this.#showErrors();
  }

  async #showErrors(): Promise<void> {
    await this.updateComplete;
    focusWrong(this.renderRoot);
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot?.querySelector("dialog") ?? null;
  }
}

customElements.define("edit-session", EditSession);

// <create-session>: the form for a new session.
import { html, LitElement, nothing, type TemplateResult } from "lit";
import { type Api, randomKey } from "./api.ts";
import { controls } from "./controls.ts";
import { createStyles } from "./create_styles.ts";
import { formatSize, formatWhen, spellDuration } from "./format.ts";
import "./name_values.ts";
import { sentence } from "./notes.ts";
import { pageStorage } from "./preferences.ts";
import { ApiProblem, explain } from "./problem.ts";
import type { NewSession } from "./session.ts";
import { sign } from "./signs.ts";
import {
  commandOf,
  isSecretName,
  LIFETIMES,
  lifetimeOf,
  NO_WISHES,
  type Pair,
  POLICIES,
  RETENTIONS,
  recall,
  remember,
  requestOf,
  SHELLS,
  SIZE_LIMIT,
  type Wishes,
} from "./wishes.ts";

const ADVANCED = ["cwd", "env", "labels", "keepalive", "size_policy", "retention_bytes", "backend"] as const;
const FIELDS = ["shell", "command", "name", "rows", "cols", "ttl_seconds", ...ADVANCED] as const;
type Field = (typeof FIELDS)[number] | "size";
type Choice = readonly [value: string, label: string];

/** Fires `session-created` {sessionId}, which bubbles out of shadow roots. */
export class CreateSession extends LitElement {
  static override properties = {
    api: { attribute: false },
    fit: { attribute: false },
    backends: { attribute: false },
    wishes: { state: true },
    errors: { state: true },
    trouble: { state: true },
    isBusy: { state: true },
    isAdvanced: { state: true },
  };
  static override styles = [controls, createStyles];

  declare api: Api | null;
  /** The size of a terminal that fits the window, in characters; null: it is guessed. */
  declare fit: { rows: number; cols: number } | null;
  /** Names of places where a session can run, the default one first. */
  declare backends: readonly string[];
  declare private wishes: Wishes;
  declare private errors: Readonly<Record<string, string>>;
  /** What is wrong with none of the fields. */
  declare private trouble: string;
  declare private isBusy: boolean;
  declare private isAdvanced: boolean;
  #abort: AbortController | null = null;
  /** The key of the last request whose outcome is not known: sent again, it starts no second session. */
  #pending: { key: string; body: string } | null = null;

  constructor() {
    super();
    this.api = null;
    this.fit = null;
    this.backends = ["local"];
    this.wishes = NO_WISHES;
    this.errors = {};
    this.trouble = "";
    this.isBusy = false;
    this.isAdvanced = false;
  }

  /** Open the dialog, with the choices of the last time. */
  async show(): Promise<void> {
    if (this.#dialog?.open) return;
    this.wishes = recall(pageStorage());
    this.errors = {};
    this.trouble = "";
    await this.updateComplete;
    this.#dialog?.showModal();
  }

  /** Close it; a request under way is given up, though the session may have begun. */
  close(): void {
    this.#dialog?.close();
  }

  // -- what is drawn

  override render(): TemplateResult {
    return html`<dialog aria-labelledby="title" @close=${() => this.#abort?.abort()}>
      <form novalidate @submit=${this.#onSubmit} @keydown=${this.#onKey}>
        <header>
          <h2 id="title">New session</h2>
          <button type="button" class="icon" aria-label="Close" @click=${this.close}>${sign("close")}</button>
        </header>
        <div class="body">
          ${this.trouble ? html`<p class="trouble" role="alert">${this.trouble}</p>` : nothing}
          ${this.#program()} ${this.#text("name", "Name", "name", "for you and others to find it", 200)} ${this.#lifetime()}
          ${this.#size()} ${this.#advanced()}
        </div>
        <footer>
          <button type="button" @click=${this.close}>Cancel</button>
          <button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Starting…" : "Start session"}</button>
        </footer>
      </form>
    </dialog>`;
  }

  #program(): TemplateResult {
    const choices: Choice[] = [
      ["", "The service’s default shell"],
      ...SHELLS.map((shell): Choice => [shell, shell]),
      ["custom", "A command…"],
    ];
    return html`${this.#select("shell", "Program", "program", choices)} ${
      this.wishes.program === "custom" ? this.#command() : nothing
    }`;
  }

  #command(): TemplateResult {
    const words = commandOf(this.wishes.command);
    return this.#field(
      "command",
      "Command",
      html`<textarea
        id="command"
        rows=${Math.min(6, Math.max(2, this.wishes.command.split("\n").length))}
        spellcheck="false"
        autocapitalize="off"
        autocomplete="off"
        placeholder="htop -d 10"
        aria-describedby="command-hint command-error"
        aria-invalid=${this.#isWrong("command")}
        .value=${this.wishes.command}
        @input=${(event: Event) => this.#wish({ command: valueIn(event) })}
      ></textarea>`,
      words.length > 1
        ? html`${words.map((word) => html`<code>${word}</code> `)}`
        : "One line, or an argument in each line. There is no shell in between: no pipes, no $NAME.",
    );
  }

  #lifetime(): TemplateResult {
    const choices: Choice[] = [
      ["", "The service’s default"],
      ...LIFETIMES.map((seconds): Choice => [String(seconds), spellDuration(seconds)]),
      ["custom", "Another time…"],
    ];
    const seconds = lifetimeOf(this.wishes);
    const now = this.api?.now() ?? Date.now() / 1000;
    const hint = seconds
      ? `It ends after ${spellDuration(seconds)} without use: ${formatWhen(now + seconds, now)} if nobody uses it.`
      : "A session that nobody uses ends by itself.";
    const more = html`<input
      aria-label="Time without use"
      placeholder="90m, 12h, 2d"
      aria-describedby="ttl_seconds-error ttl_seconds-hint"
      aria-invalid=${this.#isWrong("ttl_seconds")}
      .value=${this.wishes.lifetimeText}
      @input=${(event: Event) => this.#wish({ lifetimeText: valueIn(event) })}
    />`;
    const isCustom = this.wishes.lifetime === "custom";
    return this.#select("ttl_seconds", "Lives without use", "lifetime", choices, hint, isCustom ? more : nothing);
  }

  #size(): TemplateResult {
    const { rows, cols } = this.#fitting;
    const choices: Choice[] = [
      ["fit", `Fit to the window (${cols} × ${rows})`],
      ["fixed", "Columns × rows…"],
    ];
    const more = html`<div class="size">
        ${this.#number("cols", "Columns")}<span aria-hidden="true">×</span>${this.#number("rows", "Rows")}
      </div>
      ${this.#error("cols")} ${this.errors["cols"] ? nothing : this.#error("rows")}`;
    return this.#select("size", "Size", "sizing", choices, nothing, this.wishes.sizing === "fixed" ? more : nothing);
  }

  #number(field: "rows" | "cols", label: string): TemplateResult {
    return html`<input
      inputmode="numeric"
      aria-label="${label}, 1 to ${SIZE_LIMIT}"
      aria-describedby="${field}-error"
      aria-invalid=${this.#isWrong(field)}
      .value=${this.wishes[field]}
      @input=${(event: Event) => this.#wish({ [field]: valueIn(event) })}
    />`;
  }

  #advanced(): TemplateResult {
    const usual: Choice = ["", "The service’s default"];
    const policies = Object.entries(POLICIES).map(([name, label]): Choice => [name, label]);
    const retentions = RETENTIONS.map((bytes): Choice => [String(bytes), formatSize(bytes)]);
    return html`<details
      ?open=${this.isAdvanced}
      @toggle=${(event: Event) => {
        this.isAdvanced = (event.target as HTMLDetailsElement).open;
      }}
    >
      <summary>Advanced</summary>
      ${this.#text("cwd", "Working directory", "cwd", "home directory", 4096)}
      ${this.#pairs("env", "Environment variables", "variable", isSecretName)}
      ${this.#pairs("labels", "Labels", "label", () => false)}
      ${this.#select("size_policy", "Whose size counts", "policy", [usual, ...policies])}
      ${this.#select("retention_bytes", "Output kept", "retention", [usual, ...retentions])}
      ${this.#select(
        "backend",
        "Where it runs",
        "backend",
        this.backends.map((name, place): Choice => [place ? name : "", name]),
      )}
      <label class="check"
        ><input
          type="checkbox"
          .checked=${this.wishes.keepalive}
          @change=${(event: Event) => this.#wish({ keepalive: (event.target as HTMLInputElement).checked })}
        />
        Whoever is attached and may type keeps it alive</label
      >
    </details>`;
  }

  // -- parts of a form

  #text(field: Field, label: string, wish: "name" | "cwd", placeholder: string, limit: number): TemplateResult {
    return this.#field(
      field,
      label,
      html`<input
        id=${field}
        maxlength=${limit}
        placeholder=${placeholder}
        autocomplete="off"
        spellcheck="false"
        aria-describedby="${field}-error"
        aria-invalid=${this.#isWrong(field)}
        .value=${this.wishes[wish]}
        @input=${(event: Event) => this.#wish({ [wish]: valueIn(event) })}
      />`,
    );
  }

  #select(
    field: Field,
    label: string,
    wish: "program" | "lifetime" | "sizing" | "policy" | "retention" | "backend",
    choices: readonly Choice[],
    hint: string | typeof nothing = nothing,
    more: TemplateResult | typeof nothing = nothing,
  ): TemplateResult {
    const chosen = this.wishes[wish];
    return this.#field(
      field,
      label,
      html`<select
        id=${field}
        ?autofocus=${field === "shell"}
        aria-describedby="${field}-hint ${field}-error"
        aria-invalid=${this.#isWrong(field)}
        @change=${(event: Event) => this.#wish({ [wish]: valueIn(event) })}
      >
        ${choices.map(([value, text]) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`)}
        </select>
        ${more}`,
      hint,
    );
  }

  #pairs(field: "env" | "labels", label: string, noun: string, masks: (name: string) => boolean): TemplateResult {
    return html`<div class="field wide">
      <span class="label">${label}</span>
      <name-values
        label=${label}
        noun=${noun}
        .masks=${masks}
        .pairs=${this.wishes[field]}
        ?data-wrong=${Boolean(this.errors[field])}
        @pairs-changed=${(event: CustomEvent<{ pairs: readonly Pair[] }>) => this.#wish({ [field]: event.detail.pairs })}
      ></name-values>
      ${this.#error(field)}
    </div>`;
  }

  #field(
    field: Field,
    label: string,
    control: TemplateResult,
    hint: TemplateResult | string | typeof nothing = nothing,
  ): TemplateResult {
    return html`<div class="field">
      <label for=${field}>${label}</label>${control}
      ${hint === nothing ? nothing : html`<p class="hint" id="${field}-hint">${hint}</p>`} ${this.#error(field)}
    </div>`;
  }

  #error(field: Field): TemplateResult | typeof nothing {
    const text = this.errors[field];
    return text ? html`<p class="error" id="${field}-error">${sentence(text)}</p>` : nothing;
  }

  #isWrong(field: Field): "true" | "false" {
    return this.errors[field] ? "true" : "false";
  }

  // -- what is done

  #wish(change: Partial<Wishes>): void {
    this.wishes = { ...this.wishes, ...change };
  }

  readonly #onKey = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.renderRoot.querySelector("form")?.requestSubmit();
    }
  };

  readonly #onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (!this.isBusy) void this.#submit();
  };

  async #submit(): Promise<void> {
    const { wanted, errors } = requestOf(this.wishes, this.#fitting);
    this.errors = errors;
    this.trouble = "";
    if (Object.keys(errors).length) return this.#showErrors();
    this.isBusy = true;
    try {
      await this.#create(wanted);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) await this.#fail(error);
    } finally {
      this.isBusy = false;
    }
  }

  async #create(wanted: NewSession): Promise<void> {
    if (!this.api) return;
    const body = JSON.stringify(wanted);
    this.#pending = this.#pending?.body === body ? this.#pending : { key: randomKey(), body };
    this.#abort = new AbortController();
    const { session_id: sessionId } = await this.api.create(wanted, {
      idempotencyKey: this.#pending.key,
      signal: this.#abort.signal,
    });
    this.#pending = null;
    remember(this.wishes, pageStorage());
    this.close();
    this.dispatchEvent(new CustomEvent("session-created", { detail: { sessionId }, bubbles: true, composed: true }));
  }

  async #fail(error: unknown): Promise<void> {
    const found: Record<string, string> = {};
    if (error instanceof ApiProblem) {
      for (const field of FIELDS) if (error.forField(field)) found[field] = error.forField(field);
    }
    this.errors = found;
    this.trouble = Object.keys(found).length ? "" : sentence(explain(error));
    await this.#showErrors();
  }

  /** Unfold what is wrong, and lead the keyboard there. */
  async #showErrors(): Promise<void> {
    this.isAdvanced ||= ADVANCED.some((field) => this.errors[field]);
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>('[aria-invalid="true"], [data-wrong]')?.focus();
  }

  get #fitting(): { rows: number; cols: number } {
    if (this.fit) return this.fit;
    const cols = Math.floor(window.innerWidth / 8.4); // a usual cell at 14 px
    const rows = Math.floor((window.innerHeight - 90) / 17);
    return { rows: bounded(rows), cols: bounded(cols) };
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot?.querySelector("dialog") ?? null;
  }
}

function bounded(characters: number): number {
  return Math.max(10, Math.min(400, characters));
}

function valueIn(event: Event): string {
  return (event.target as HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement).value;
}

customElements.define("create-session", CreateSession);

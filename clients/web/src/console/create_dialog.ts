// <create-session>: the form for a new session.
import { html, LitElement, nothing, type TemplateResult } from "lit";
import { type Api, randomKey } from "./api.ts";
import { controls } from "./controls.ts";
import {
  type Choice,
  describedBy,
  errorLine,
  field,
  focusWrong,
  type Look,
  moreInput,
  pairsField,
  selectField,
  textField,
  valueIn,
} from "./form_fields.ts";
import { formStyles } from "./form_styles.ts";
import { formatSize, formatWhen, spellDuration } from "./format.ts";
import { sentence } from "./notes.ts";
import { pageStorage } from "./preferences.ts";
import { ApiProblem, explain, Unreachable } from "./problem.ts";
import type { Backend, NewSession } from "./session.ts";
import { sign } from "./signs.ts";
import {
  AUTO,
  commandOf,
  isSecretName,
  LIFETIMES,
  lifetimeOf,
  NO_WISHES,
  POLICIES,
  RETENTIONS,
  recall,
  remember,
  requestOf,
  SHELLS,
  SIZE_LIMIT,
  type Wishes,
} from "./wishes.ts";

const ADVANCED = ["cwd", "env", "labels", "size_policy", "retention_bytes", "backend"] as const;
const FIELDS = ["shell", "command", "name", "rows", "cols", "ttl_seconds", ...ADVANCED] as const;
const USUAL: Choice = ["", "The service’s default"];

/** Return what there is to choose from, the service's default first. */
function choicesOf(backends: readonly Backend[]): Choice[] {
  const named = backends.map(({ name, description, health }): Choice => {
    const more = [description, health.state === "failing" ? "cannot be used now" : ""].filter(Boolean).join("; ");
    return [name, more ? `${name}: ${more}` : name];
  });
  return [USUAL, ...(named.length > 1 ? [[AUTO, "Chosen by the service"] as Choice] : []), ...named];
}

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
  static override styles = [controls, formStyles];

  declare api: Api | null;
  /** The size of a terminal that fits the window, in characters; null: it is guessed. */
  declare fit: { rows: number; cols: number } | null;
  /** Places where a session can run, the default one first; known once the service has told. */
  declare backends: readonly Choice[];
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
    this.backends = [USUAL];
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
    await this.#learnBackends();
  }

  /** Ask where sessions can run; where that is not to be learned, the default remains. */
  async #learnBackends(): Promise<void> {
    try {
      this.backends = choicesOf((await this.api?.backends()) ?? []);
    } catch (error) {
      if (!(error instanceof ApiProblem || error instanceof Unreachable)) throw error;
      this.backends = [USUAL];
    }
    if (!this.backends.some(([name]) => name === this.wishes.backend)) this.#wish({ backend: "" }); // it is gone
  }

  /** Close it; a request under way is given up, though the session may have begun. */
  close(): void {
    this.#dialog?.close();
  }

  // -- what is drawn

  override render(): TemplateResult {
    return html`<dialog aria-labelledby="title" @close=${() => this.#abort?.abort()}>
      <form novalidate @submit=${this.#onSubmit} @keydown=${this.#onKey}>
        <div class="top">
          <h2 id="title">New session</h2>
          <button type="button" class="icon" aria-label="Close" @click=${this.close}>${sign("close")}</button>
        </div>
        <div class="body">
          ${this.trouble ? html`<p class="trouble" role="alert">${this.trouble}</p>` : nothing}
          ${this.#program()}
          ${textField(this.#look("name", "Name"), this.wishes.name, {
            limit: 200,
            placeholder: "for you and others to find it",
            change: (name) => this.#wish({ name }),
          })}
          ${this.#lifetime()} ${this.#size()} ${this.#advanced()}
        </div>
        <div class="bottom">
          <button type="button" @click=${this.close}>Cancel</button>
          <button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Starting…" : "Start session"}</button>
        </div>
      </form>
    </dialog>`;
  }

  #program(): TemplateResult {
    const shells = SHELLS.map((shell): Choice => [shell, shell]);
    const choices: Choice[] = [["", "The service’s default shell"], ...shells, ["custom", "A command…"]];
    return html`${selectField(this.#look("shell", "Program"), this.wishes.program, {
      choices,
      isFirst: true,
      change: (program) => this.#wish({ program }),
    })}
    ${this.wishes.program === "custom" ? this.#command() : nothing}`;
  }

  #command(): TemplateResult {
    const { command } = this.wishes;
    const words = commandOf(command);
    const usage = "One line, or an argument in each line. There is no shell in between: no pipes, no $NAME.";
    const look = {
      ...this.#look("command", "Command"),
      hint: words.length > 1 ? html`${words.map((word) => html`<code>${word}</code> `)}` : usage,
    };
    return field(
      look,
      html`<textarea
        id="command"
        rows=${Math.min(6, Math.max(2, command.split("\n").length))}
        spellcheck="false"
        autocapitalize="off"
        autocomplete="off"
        placeholder="htop -d 10"
        aria-describedby=${describedBy(look)}
        aria-invalid=${look.error ? "true" : "false"}
        .value=${command}
        @input=${(event: Event) => this.#wish({ command: valueIn(event) })}
      ></textarea>`,
    );
  }

  #lifetime(): TemplateResult {
    const presets = LIFETIMES.map((seconds): Choice => [String(seconds), spellDuration(seconds)]);
    const look = { ...this.#look("ttl_seconds", "Lives without use"), hint: this.#lifetimeHint() };
    const more = moreInput(look, this.wishes.lifetimeText, {
      label: "Time without use",
      placeholder: "90m, 12h, 2d",
      change: (lifetimeText) => this.#wish({ lifetimeText }),
    });
    return selectField(look, this.wishes.lifetime, {
      choices: [USUAL, ...presets, ["custom", "Another time…"]],
      change: (lifetime) => this.#wish({ lifetime }),
      more: this.wishes.lifetime === "custom" ? more : nothing,
    });
  }

  #lifetimeHint(): string {
    const seconds = lifetimeOf(this.wishes);
    if (!seconds) return "A session that nobody uses ends by itself.";
    const now = this.api?.now() ?? Date.now() / 1000;
    return `It ends after ${spellDuration(seconds)} without use: ${formatWhen(now + seconds, now)} if nobody uses it.`;
  }

  #size(): TemplateResult {
    const { rows, cols } = this.#fitting;
    const rowsLook = this.#look("rows", "Size");
    const colsLook = this.#look("cols", "Size");
    const more = html`<div class="size">
        ${moreInput(colsLook, this.wishes.cols, {
          label: `Columns, 1 to ${SIZE_LIMIT}`,
          change: (text) => this.#wish({ cols: text }),
        })}<span aria-hidden="true">×</span>${moreInput(rowsLook, this.wishes.rows, {
          label: `Rows, 1 to ${SIZE_LIMIT}`,
          change: (text) => this.#wish({ rows: text }),
        })}
      </div>
      ${errorLine(colsLook)} ${colsLook.error ? nothing : errorLine(rowsLook)}`;
    return selectField({ name: "size", label: "Size", error: "" }, this.wishes.sizing, {
      choices: [
        ["fit", `Fit to the window (${cols} × ${rows})`],
        ["fixed", "Columns × rows…"],
      ],
      change: (sizing) => this.#wish({ sizing: sizing === "fixed" ? "fixed" : "fit" }),
      more: this.wishes.sizing === "fixed" ? more : nothing,
    });
  }

  #advanced(): TemplateResult {
    const { wishes } = this;
    return html`<details ?open=${this.isAdvanced} @toggle=${this.#onToggle}>
      <summary>Advanced</summary>
      ${textField(this.#look("cwd", "Working directory"), wishes.cwd, {
        limit: 4096,
        placeholder: "home directory",
        change: (cwd) => this.#wish({ cwd }),
      })}
      ${pairsField(this.#look("env", "Environment variables"), wishes.env, {
        noun: "variable",
        masks: isSecretName,
        change: (env) => this.#wish({ env }),
      })}
      ${pairsField(this.#look("labels", "Labels"), wishes.labels, {
        noun: "label",
        change: (labels) => this.#wish({ labels }),
      })}
      ${this.#choices()}
      <label class="check"
        ><input
          type="checkbox"
          .checked=${wishes.keepalive}
          @change=${(event: Event) => this.#wish({ keepalive: (event.target as HTMLInputElement).checked })}
        />
        Whoever is attached and may type keeps it alive</label
      >
    </details>`;
  }

  #choices(): TemplateResult {
    const { wishes } = this;
    return html`${selectField(this.#look("size_policy", "Whose size counts"), wishes.policy, {
      choices: [USUAL, ...Object.entries(POLICIES)],
      change: (policy) => this.#wish({ policy }),
    })}
    ${selectField(this.#look("retention_bytes", "Output kept"), wishes.retention, {
      choices: [USUAL, ...RETENTIONS.map((bytes): Choice => [String(bytes), formatSize(bytes)])],
      change: (retention) => this.#wish({ retention }),
    })}
    ${selectField(this.#look("backend", "Where it runs"), wishes.backend, {
      choices: this.backends,
      change: (backend) => this.#wish({ backend }),
    })}`;
  }

  #look(name: (typeof FIELDS)[number], label: string): Look {
    return { name, label, error: this.errors[name] ?? "" };
  }

  // -- what is done

  #wish(change: Partial<Wishes>): void {
    this.wishes = { ...this.wishes, ...change };
  }

  readonly #onToggle = (event: Event): void => {
    this.isAdvanced = (event.target as HTMLDetailsElement).open;
  };

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
    focusWrong(this.renderRoot);
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

customElements.define("create-session", CreateSession);

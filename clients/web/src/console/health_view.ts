// <health-view>: how the service is, by its own word, and where to read on about it.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import type { Api } from "./api.ts";
import { controls } from "./controls.ts";
import { formatMoment, plural, spellDuration } from "./format.ts";
import { troubleNote, waitingNote } from "./notes.ts";
import { noteStyles } from "./notes_styles.ts";
import { Poll } from "./poll.ts";
import type { Check, Front, Health } from "./session.ts";

const INTERVAL_MS = 5000;
const WORDS: Readonly<Record<Check["status"], string>> = { ok: "fine", degraded: "degraded", failed: "failed" };
/** Path, label, what it is for, and whether it wants a key where there are keys: a link cannot send one. */
const LINKS: readonly (readonly [string, string, string, boolean])[] = [
  ["docs", "Explore the API", "every operation, to be tried out", false],
  ["openapi.json", "OpenAPI document", "for generators of clients", true],
  ["metrics", "Metrics", "for Prometheus", true],
  ["health", "Health", "for load balancers and probes", false],
];

/** Asks every five seconds while it is looked at. */
export class HealthView extends LitElement {
  static override properties = { api: { attribute: false }, health: { state: true }, front: { state: true } };
  static override styles = [
    controls,
    noteStyles,
    css`
      :host {
        display: block;
        height: 100%;
        padding: 16px;
        overflow-y: auto;
        background: var(--surface);
      }
      h2 {
        margin: 0 0 12px;
        font-size: 1.25em;
      }
      h3 {
        margin: 20px 0 6px;
        font-size: 1em;
      }
      .note {
        margin-inline: 0;
      }
      .status {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 4px 12px;
        padding: 14px 16px;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--good-soft);
      }
      .status.unhealthy {
        background: var(--bad-soft);
      }
      .status.degraded {
        background: var(--warn-soft);
      }
      .status strong {
        font-size: 1.15em;
      }
      .status span {
        color: var(--text);
      }
      ul,
      dl {
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        display: flex;
        flex-wrap: wrap;
        align-items: baseline;
        gap: 2px 10px;
        padding: 8px 0;
        border-bottom: 1px solid var(--line);
        overflow-wrap: anywhere;
      }
      li b {
        min-width: 7em;
        text-transform: capitalize;
      }
      .mark {
        padding: 0 8px;
        border-radius: 9px;
        background: var(--good-soft);
        color: var(--good);
        font-size: 12px;
        font-weight: 600;
      }
      .mark.degraded {
        background: var(--warn-soft);
        color: var(--warn);
      }
      .mark.failed {
        background: var(--bad-soft);
        color: var(--bad);
      }
      dl {
        display: grid;
        grid-template-columns: fit-content(50%) minmax(0, 1fr);
        gap: 4px 16px;
      }
      dt,
      small {
        color: var(--muted);
      }
      small {
        font-size: 13px;
      }
      dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      a {
        color: var(--accent);
      }
    `,
  ];

  declare api: Api | null;
  declare private health: Health | null;
  declare private front: Front | null;
  #lookedAt = 0;
  readonly #poll = new Poll(this, (signal) => this.#look(signal), INTERVAL_MS);

  constructor() {
    super();
    this.api = null;
    this.health = null;
    this.front = null;
  }

  async #look(signal: AbortSignal): Promise<void> {
    if (!this.api) return;
    this.health = await this.api.health({ signal });
    this.#lookedAt = Date.now();
    this.front = await this.api.front({ signal });
  }

  override render(): TemplateResult {
    return html`<h2>Health</h2>
      ${this.health ? this.#all(this.health) : waitingNote(this.#poll, this.api, "the service’s health")}
      <h3>Read on</h3>
      <ul>
        ${LINKS.filter(([, , , wantsKey]) => !(wantsKey && this.api?.isSignedIn)).map(
          ([path, label, about]) => html`<li>
            <a href=${this.api?.address(path) ?? path} target="_blank" rel="noopener">${label}</a> <small>${about}</small>
          </li>`,
        )}
      </ul>`;
  }

  #all(health: Health): TemplateResult {
    const checks = Object.entries(health.checks);
    const isDegraded = checks.some(([, check]) => check.status !== "ok");
    const look = health.status === "healthy" && isDegraded ? "degraded" : health.status;
    const words = { healthy: "The service is healthy", unhealthy: "The service cannot serve" }[health.status];
    return html`
      ${troubleNote(this.#poll, this.api, this.#lookedAt)}
      <div class="status ${look}" role="status">
        <strong>${look === "degraded" ? "The service works, with trouble" : words}</strong>
        <span>${plural(health.active_sessions, "session")} running</span>
      </div>
      <h3>Checks</h3>
      <ul>
        ${checks.map(
          ([name, check]) => html`<li>
            <b>${name}</b> <span class="mark ${check.status}">${WORDS[check.status]}</span> ${check.detail}
          </li>`,
        )}
      </ul>
      <h3>Service</h3>
      ${this.#facts(health)}
    `;
  }

  #facts(health: Health): TemplateResult {
    const facts: readonly (readonly [string, string | undefined])[] = [
      ["Name", this.front?.service],
      ["Version", this.front?.version],
      ["Runs since", health.uptime === undefined ? undefined : spellDuration(health.uptime)],
      ["Its clock", formatMoment(health.timestamp)],
      ["Address", this.api?.address("")],
    ];
    return html`<dl>
      ${facts.map(([term, text]) => (text ? html`<dt>${term}</dt><dd>${text}</dd>` : nothing))}
    </dl>`;
  }
}

customElements.define("health-view", HealthView);

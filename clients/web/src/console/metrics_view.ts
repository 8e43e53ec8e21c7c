// <metrics-view>: how the service has been doing over the last ten minutes, drawn from its own metrics.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { Api } from "./api.ts";
import "./chart.ts";
import { controls } from "./controls.ts";
import { formatBytes, formatCount, formatRate, formatWhen } from "./format.ts";
import { CHARTS, lookOf, TILES } from "./metric_specs.ts";
import { troubleNote, waitingNote } from "./notes.ts";
import { noteStyles } from "./notes_styles.ts";
import { Poll } from "./poll.ts";
import { parseMetrics } from "./prometheus.ts";
import { Series } from "./series.ts";

const INTERVAL_SECONDS = 2;
const SPAN_SECONDS = 600;

/** What was seen stays while the page is open: who comes back to the view finds it again. */
const seen = new WeakMap<Api, Series>();

/** Draws what it sees while it is on the page. Its button freezes what is drawn; looks go on being taken. */
export class MetricsView extends LitElement {
  static override properties = {
    api: { attribute: false },
    paused: { state: true },
    until: { state: true },
    answerMs: { state: true },
  };
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
        container-type: inline-size;
      }
      header {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 8px 16px;
        margin-bottom: 12px;
      }
      h2 {
        flex: 1;
        margin: 0;
        font-size: 1.25em;
      }
      header p {
        margin: 0;
        color: var(--muted);
      }
      .note {
        margin-inline: 0;
      }
      dl {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(130px, 1fr));
        gap: 10px;
        margin: 0 0 12px;
      }
      dl div {
        padding: 8px 14px;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--raised);
      }
      dt {
        color: var(--muted);
        font-size: 12px;
      }
      dd {
        margin: 0;
        font-size: 20px;
        font-variant-numeric: tabular-nums;
        white-space: nowrap;
      }
      .charts {
        display: grid;
        grid-template-columns: minmax(0, 1fr);
        gap: 12px;
      }
      @container (max-width: 480px) {
        header p {
          order: 1;
          flex-basis: 100%;
        }
      }
      @container (min-width: 760px) {
        .charts {
          grid-template-columns: repeat(2, minmax(0, 1fr));
        }
      }
    `,
  ];

  declare api: Api | null;
  declare private paused: boolean;
  /** Up to when is drawn, in seconds since 1970. */
  declare private until: number;
  /** How long the service took for the last answer. */
  declare private answerMs: number;
  #series = new Series(SPAN_SECONDS, INTERVAL_SECONDS);
  #lookedAt = 0;
  readonly #poll = new Poll(this, (signal) => this.#look(signal), INTERVAL_SECONDS * 1000);

  constructor() {
    super();
    this.api = null;
    this.paused = false;
    this.until = Date.now() / 1000;
    this.answerMs = 0;
  }

  async #look(signal: AbortSignal): Promise<void> {
    if (!this.api) return;
    const startedAt = performance.now();
    const scrape = parseMetrics(await this.api.metrics({ signal }));
    this.answerMs = performance.now() - startedAt;
    this.#lookedAt = Date.now();
    this.#series.add(lookOf(scrape, this.#lookedAt / 1000));
    if (!this.paused) this.until = this.#lookedAt / 1000;
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("api") || !this.api) return;
    this.#series = seen.get(this.api) ?? new Series(SPAN_SECONDS, INTERVAL_SECONDS);
    seen.set(this.api, this.#series);
  }

  override render(): TemplateResult {
    return html`
      <header>
        <h2>Metrics</h2>
        <p>The last ten minutes, every ${INTERVAL_SECONDS} seconds</p>
        <button aria-pressed=${this.paused} @click=${this.#toggle}>${this.paused ? "Go on" : "Pause"}</button>
      </header>
      ${this.#series.isEmpty ? waitingNote(this.#poll, this.api, "metrics") : this.#all()}
    `;
  }

  #all(): TemplateResult {
    return html`
      ${troubleNote(this.#poll, this.api, this.#lookedAt)} ${this.#pausedNote()} ${this.#restartNote()} ${this.#tiles()}
      <div class="charts">
        ${CHARTS.map(
          (spec) => html`<metric-chart .spec=${spec} .series=${this.#series} .until=${this.until}></metric-chart>`,
        )}
      </div>
    `;
  }

  #tiles(): TemplateResult {
    const now = (metric: string) => this.#series.summary(metric).now;
    const tiles: readonly (readonly [string, string])[] = [
      ["Sessions", shown(now("terminal_sessions_active"), formatCount)],
      ["Viewers", shown(now("terminal_websocket_active_connections"), formatCount)],
      ["Output", shown(now("terminal_output_appended_bytes_total"), formatRate)],
      ["Largest lag", shown(now("terminal_viewer_lag_bytes_max"), formatBytes)],
      ["Output kept", shown(now(TILES.kept), formatBytes)],
      ["Not on disk", shown(now(TILES.degraded), formatCount)],
      ["Service answers in", `${formatCount(Math.round(this.answerMs))} ms`],
    ];
    return html`<dl>
      ${tiles.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
    </dl>`;
  }

  #pausedNote(): TemplateResult | typeof nothing {
    if (!this.paused) return nothing;
    return html`<div class="note" role="status">
      <span>Paused at ${new Date(this.until * 1000).toLocaleTimeString()}; looks go on being taken.</span>
    </div>`;
  }

  #restartNote(): TemplateResult | typeof nothing {
    const at = this.#series.restarts.at(-1);
    if (at === undefined) return nothing;
    return html`<div class="note" role="status">
      <span>The service was restarted, at ${formatWhen(at, Date.now() / 1000)}: its counters began anew.</span>
    </div>`;
  }

  readonly #toggle = (): void => {
    this.paused = !this.paused;
    if (!this.paused) this.until = this.#lookedAt / 1000;
  };
}

function shown(value: number | null, format: (value: number) => string): string {
  return value === null ? "–" : format(value);
}

customElements.define("metrics-view", MetricsView);

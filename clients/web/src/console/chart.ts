// <metric-chart>: lines over time on a canvas, and the same in figures. Only here is uPlot used.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult, unsafeCSS } from "lit";
import uPlot from "uplot";
import uPlotStyles from "uplot/dist/uPlot.min.css?inline";
import { controls } from "./controls.ts";
import type { ChartSpec, Line } from "./metric_specs.ts";
import type { Series, Summary } from "./series.ts";

const HEIGHT = 170;
const SYNC = "terminal-service.metrics";
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/** Draws `series` as `spec` says, up to `until` (seconds since 1970). Set `until` anew to have it drawn anew. */
export class MetricChart extends LitElement {
  static override properties = {
    spec: { attribute: false },
    series: { attribute: false },
    until: { attribute: false },
    cursor: { state: true },
  };
  static override styles = [
    controls,
    unsafeCSS(uPlotStyles),
    css`
      :host {
        display: block;
        min-width: 0;
        padding: 12px 14px;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--raised);
      }
      h3 {
        margin: 0;
        font-size: 14px;
      }
      h3 span,
      caption,
      th {
        color: var(--muted);
        font-weight: 400;
      }
      .plot {
        position: relative;
        height: ${HEIGHT}px;
        margin: 8px 0 4px;
        overflow: hidden;
      }
      .tip {
        position: absolute;
        top: 4px;
        z-index: 100;
        padding: 4px 8px;
        border: 1px solid var(--line);
        border-radius: var(--radius-small);
        background: var(--surface);
        font-size: 12px;
        font-variant-numeric: tabular-nums;
        white-space: nowrap;
        pointer-events: none;
      }
      .tip div {
        display: flex;
        align-items: center;
        gap: 6px;
      }
      table {
        width: 100%;
        border-collapse: collapse;
        font-size: 12px;
        font-variant-numeric: tabular-nums;
      }
      caption {
        position: absolute;
        width: 1px;
        height: 1px;
        overflow: hidden;
        clip-path: inset(50%);
      }
      th,
      td {
        padding: 1px 0 1px 14px;
        text-align: end;
        white-space: nowrap;
      }
      tr > :first-child {
        padding: 1px 0;
        width: 100%;
        color: var(--text);
        text-align: start;
        white-space: normal;
      }
      svg {
        flex: none;
        width: 20px;
        height: 8px;
        margin-inline-end: 6px;
        stroke-width: 2;
      }
    `,
  ];

  declare spec: ChartSpec | null;
  declare series: Series | null;
  declare until: number;
  /** Which point the pointer is at. */
  declare private cursor: { index: number; left: number } | null;
  #plot: uPlot | null = null;
  #columns: uPlot.AlignedData = [[]];
  #summaries: readonly Summary[] = [];
  readonly #resized = new ResizeObserver(() => this.#fit());
  readonly #restyled = (): void => this.#plot?.redraw(false);

  constructor() {
    super();
    this.spec = null;
    this.series = null;
    this.until = 0;
    this.cursor = null;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("theme-changed", this.#restyled);
    if (this.hasUpdated) this.#begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("theme-changed", this.#restyled);
    this.#resized.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("until") && !changed.has("series")) return;
    const { spec, series } = this;
    if (!spec || !series) return;
    const metrics = spec.lines.map((line) => line.metric);
    const [times, ...values] = series.columns(metrics);
    this.#summaries = metrics.map((metric) => series.summary(metric));
    this.#columns = [times, ...values.map((column) => column.map((value) => value && value * (spec.per ?? 1)))];
  }

  protected override firstUpdated(): void {
    this.#begin();
  }

  override updated(changed: PropertyValues<this>): void {
    if (changed.has("until") || changed.has("series")) this.#plot?.setData(this.#columns);
  }

  // -- figures

  override render(): TemplateResult {
    const { spec } = this;
    if (!spec) return html``;
    return html`
      <h3>${spec.title} <span>· ${spec.about}</span></h3>
      <div class="plot" role="img" aria-label=${this.#inWords(spec)}>
        <div class="canvas"></div>
        ${this.#tip(spec)}
      </div>
      <table>
        <caption>
          ${spec.title}, ${spec.about}, over the last minutes
        </caption>
        <thead>
          <tr>
            <td></td>
            <th scope="col">now</th>
            <th scope="col">lowest</th>
            <th scope="col">highest</th>
          </tr>
        </thead>
        <tbody>
          ${spec.lines.map((line, place) => this.#figures(spec, line, this.#summaries[place]))}
        </tbody>
      </table>
    `;
  }

  #figures(spec: ChartSpec, line: Line, summary: Summary | undefined): TemplateResult {
    const show = (value: number | null | undefined) => shown(spec, value);
    return html`<tr>
      <th scope="row">${swatch(line)}${line.label}</th>
      <td>${show(summary?.now)}</td>
      <td>${show(summary?.lowest)}</td>
      <td>${show(summary?.highest)}</td>
    </tr>`;
  }

  #inWords(spec: ChartSpec): string {
    const lines = spec.lines.map((line, place) => {
      const { now, highest } = this.#summaries[place] ?? {};
      return `${line.label} ${shown(spec, now)}, at most ${shown(spec, highest)}`;
    });
    return `${spec.title}, ${spec.about}: ${lines.join("; ")}`;
  }

  #tip(spec: ChartSpec): TemplateResult | typeof nothing {
    const { cursor } = this;
    const at = cursor ? this.#columns[0]?.[cursor.index] : undefined;
    if (!cursor || at === undefined) return nothing;
    const time = new Date(at * 1000).toLocaleTimeString();
    return html`<div class="tip">
      ${time}
      ${spec.lines.map((line, place) => {
        const value = this.#columns[place + 1]?.[cursor.index] ?? null;
        return html`<div>${swatch(line)}${line.label}: ${value === null ? "–" : spec.format(value)}</div>`;
      })}
    </div>`;
  }

  // -- the canvas

  #begin(): void {
    const place = this.renderRoot.querySelector<HTMLElement>(".canvas");
    if (!place || !this.spec) return;
    this.#plot = new uPlot(this.#options(this.spec, place.clientWidth || 300), this.#columns, place);
    this.#resized.observe(place);
  }

  #fit(): void {
    const width = this.renderRoot.querySelector<HTMLElement>(".canvas")?.clientWidth;
    if (width && width !== this.#plot?.width) this.#plot?.setSize({ width, height: HEIGHT });
  }

  #options(spec: ChartSpec, width: number): uPlot.Options {
    const span = this.series?.spanSeconds ?? 600;
    const colour = (name: string) => () => getComputedStyle(this).getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: `11px ${getComputedStyle(this).fontFamily}`,
    };
    return {
      width,
      height: HEIGHT,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: SYNC }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => this.#window(span) },
        y: { range: (_, __, highest) => [0, ceiling(highest, spec.isWhole ?? false)] },
      },
      axes: [
        { ...axis, size: 26, space: 90, values: (plot, splits) => timesOf(splits, plot.scales["x"]) },
        {
          ...axis,
          size: 72,
          space: 36,
          values: (_, splits) => splits.map((split) => spec.format(split)),
          ...(spec.isWhole ? { incrs: WHOLE_STEPS } : {}),
        },
      ],
      series: [
        {},
        ...spec.lines.map(
          (line): uPlot.Series => ({
            label: line.label,
            stroke: colour(line.colour),
            width: 2,
            points: { show: false },
            ...(line.dash ? { dash: [...line.dash] } : {}),
          }),
        ),
      ],
      hooks: { setCursor: [(plot) => this.#follow(plot)] },
    };
  }

  /** From the first look, if that is not too long ago, to the last; a minute at least. */
  #window(span: number): [number, number] {
    const first = this.#columns[0]?.[0] ?? this.until;
    return [Math.max(this.until - span, Math.min(first, this.until - 60)), this.until];
  }

  #follow(plot: uPlot): void {
    const { idx, left } = plot.cursor;
    this.cursor = idx === null || idx === undefined || left === undefined || left < 0 ? null : { index: idx, left };
    if (this.cursor) void this.updateComplete.then(() => this.#placeTip());
  }

  /** Beside the pointer, on the side where there is room. */
  #placeTip(): void {
    const tip = this.renderRoot.querySelector<HTMLElement>(".tip");
    const plot = this.#plot;
    if (!tip || !plot || !this.cursor) return;
    const left = plot.bbox.left / devicePixelRatio + this.cursor.left;
    const isRight = left + 14 + tip.offsetWidth < plot.width;
    tip.style.left = `${Math.max(0, isRight ? left + 14 : left - 14 - tip.offsetWidth)}px`;
  }
}

function swatch(line: Line): TemplateResult {
  return html`<svg viewBox="0 0 20 8" aria-hidden="true">
    <path d="M0 4h20" stroke="var(${line.colour})" stroke-dasharray=${line.dash?.join(" ") ?? nothing} />
  </svg>`;
}

function shown(spec: ChartSpec, value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : spec.format(value * (spec.per ?? 1));
}

/** A little above the highest value; never so low that nothing looks like something. */
function ceiling(highest: number | null, isWhole: boolean): number {
  const least = isWhole ? 4 : 10;
  return Math.max(least, (highest ?? 0) * 1.1);
}

/** Clock times, with seconds where minutes would all be the same. */
function timesOf(splits: readonly number[], scale: uPlot.Scale | undefined): string[] {
  const isShort = (scale?.max ?? 0) - (scale?.min ?? 0) < 180;
  const parts: Intl.DateTimeFormatOptions = {
    hour: "2-digit",
    minute: "2-digit",
    ...(isShort && { second: "2-digit" }),
  };
  const format = new Intl.DateTimeFormat(undefined, parts);
  return splits.map((split) => format.format(split * 1000));
}

customElements.define("metric-chart", MetricChart);

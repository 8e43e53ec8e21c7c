// Which of the service's metrics are drawn, and how.
import { formatBytes, formatCount, formatRate } from "./format.ts";
import { type Scrape, sumOf } from "./prometheus.ts";
import type { Look } from "./series.ts";

/** A line of a chart: a metric of the service, and what it is called here. */
export interface Line {
  readonly metric: string;
  readonly label: string;
  /** A colour of the theme. */
  readonly colour: string;
  /** Lengths of dashes and gaps in pixels, so that lines differ by more than their colours. */
  readonly dash?: readonly number[];
}

/** A chart. Lines of metrics that end in `_total` are rates, multiplied by `per` seconds. */
export interface ChartSpec {
  readonly title: string;
  readonly about: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** Whether there is nothing between two whole numbers. */
  readonly isWhole?: boolean;
  readonly per?: number;
}

const DASHES = [6, 4];
const DOTS = [2, 3];

export const CHARTS: readonly ChartSpec[] = [
  {
    title: "Sessions and viewers",
    about: "how many there are",
    format: formatCount,
    isWhole: true,
    lines: [
      { metric: "terminal_sessions_active", label: "Sessions", colour: "--accent" },
      { metric: "terminal_websocket_active_connections", label: "Viewers", colour: "--good", dash: DASHES },
      { metric: "terminal_pty_active_processes", label: "Programs", colour: "--warn", dash: DOTS },
    ],
  },
  {
    title: "Throughput",
    about: "bytes per second",
    format: formatRate,
    lines: [
      { metric: "terminal_output_appended_bytes_total", label: "Output of programs", colour: "--accent" },
      { metric: "terminal_output_delivered_bytes_total", label: "Sent to viewers", colour: "--good", dash: DASHES },
      { metric: "terminal_input_bytes_total", label: "Input", colour: "--warn", dash: DOTS },
    ],
  },
  {
    title: "Lag",
    about: "bytes that wait",
    format: formatBytes,
    lines: [
      { metric: "terminal_viewer_lag_bytes_max", label: "Slowest viewer", colour: "--bad" },
      { metric: "terminal_viewer_lag_bytes_sum", label: "All viewers", colour: "--accent", dash: DASHES },
      { metric: "terminal_input_pending_bytes_sum", label: "Input not read yet", colour: "--warn", dash: DOTS },
    ],
  },
  {
    title: "Trouble",
    about: "times per minute",
    format: formatCount,
    per: 60,
    lines: [
      { metric: "terminal_requests_refused_total", label: "Requests refused", colour: "--bad" },
      {
        metric: "terminal_websocket_reconnections_total",
        label: "Viewers came back",
        colour: "--accent",
        dash: DASHES,
      },
      { metric: "terminal_gaps_total", label: "Gaps told", colour: "--warn", dash: DOTS },
      {
        metric: "terminal_flow_control_pauses_total",
        label: "Viewers too slow",
        colour: "--good",
        dash: [10, 3, 2, 3],
      },
    ],
  },
];

/** Single figures above the charts. */
export const TILES = {
  kept: "terminal_output_buffer_size_bytes",
  degraded: "terminal_logs_degraded",
} as const;

/** Return what of a scrape is kept. */
export function lookOf(scrape: Scrape, at: number): Look {
  const gauges: Record<string, number | null> = {};
  const counters: Record<string, number | null> = {};
  const metrics = [...CHARTS.flatMap((chart) => chart.lines.map((line) => line.metric)), ...Object.values(TILES)];
  for (const metric of metrics) {
    const into = metric.endsWith("_total") ? counters : gauges;
    into[metric] = sumOf(scrape, metric);
  }
  return { at, gauges, counters };
}

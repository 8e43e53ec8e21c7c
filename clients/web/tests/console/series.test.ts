import { expect, test } from "vitest";
import { CHARTS, lookOf } from "../../src/console/metric_specs.ts";
import { parseMetrics } from "../../src/console/prometheus.ts";
import { Series } from "../../src/console/series.ts";

function made(...looks: [at: number, gauge: number | null, counter: number | null][]): Series {
  const series = new Series(60, 2);
  for (const [at, gauge, counter] of looks) series.add({ at, gauges: { gauge }, counters: { counter } });
  return series;
}

test("gauges are as they are, counters are rates per second from the second look on", () => {
  const series = made([100, 5, 1000], [102, 6, 1500], [104, 7, 1500]);
  expect(series.columns(["gauge", "counter"])).toEqual([
    [100, 102, 104],
    [5, 6, 7],
    [null, 250, 0],
  ]);
});

test("a counter that fell was begun anew by a restart, and never makes a negative rate", () => {
  const series = made([100, 0, 1000], [102, 0, 40], [104, 0, 60]);
  expect(series.columns(["counter"])[1]).toEqual([null, 20, 10]);
  expect(series.restarts).toEqual([102]);
});

test("missed looks break the lines, and no rate is made across them", () => {
  const series = made([100, 1, 0], [102, 1, 10], [110, 1, 1000], [112, 1, 1010]);
  expect(series.columns(["gauge", "counter"])).toEqual([
    [100, 102, 104, 110, 112],
    [1, 1, null, 1, 1],
    [null, 5, null, null, 5],
  ]);
});

test("a metric that is missing is a hole", () => {
  const series = made([100, null, null], [102, 1, 5], [104, 1, 7]);
  expect(series.columns(["gauge", "counter", "unknown"]).slice(1)).toEqual([
    [null, 1, 1],
    [null, null, 1],
    [null, null, null],
  ]);
});

test("only the span is kept", () => {
  const series = new Series(60, 2);
  for (let at = 0; at <= 600; at += 2) series.add({ at, gauges: { gauge: at }, counters: {} });
  const [times] = series.columns([]);
  expect([times[0], times.at(-1), times.length]).toEqual([540, 600, 31]);
});

test("a clock that was set back begins everything anew", () => {
  const series = made([100, 1, 1], [102, 1, 2], [50, 1, 3]);
  expect(series.columns(["counter"])).toEqual([[50], [null]]);
});

test("a summary has the last, the lowest and the highest", () => {
  const series = made([100, 5, 0], [102, 9, 0], [104, 7, 0]);
  expect(series.summary("gauge")).toEqual({ now: 7, lowest: 5, highest: 9 });
  expect(series.summary("unknown")).toEqual({ now: null, lowest: null, highest: null });
});

test("a look takes what the charts show, summed over labels", () => {
  const text = [
    "# TYPE terminal_gaps_total counter",
    'terminal_gaps_total{reason="skipped"} 2',
    'terminal_gaps_total{reason="trimmed"} 3',
    "# TYPE terminal_requests_refused_total counter",
    "terminal_sessions_active 4",
  ].join("\n");
  const look = lookOf(parseMetrics(text), 100);
  expect(look.gauges["terminal_sessions_active"]).toBe(4);
  expect(look.counters["terminal_gaps_total"]).toBe(5);
  expect(look.counters["terminal_requests_refused_total"]).toBe(0);
  expect(look.gauges["terminal_logs_degraded"]).toBeNull();
});

test("lines of one chart differ by more than their colours", () => {
  for (const chart of CHARTS) {
    const dashes = chart.lines.map((line) => JSON.stringify(line.dash));
    expect(new Set(dashes).size).toBe(chart.lines.length);
  }
});

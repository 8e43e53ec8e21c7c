/** A reader of Prometheus' text format (exposition format 0.0.4). It is lenient: a line it cannot read is counted. */

/** One value of a metric. `labels` are in the order written. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Milliseconds since 1970, where the sample says when it was taken. */
  readonly timestamp: number | null;
}

export type MetricType = "counter" | "gauge" | "histogram" | "summary" | "untyped";

/** What a scrape says. `malformed` is the number of lines that could not be read. */
export interface Scrape {
  readonly samples: readonly Sample[];
  readonly types: ReadonlyMap<string, MetricType>;
  readonly help: ReadonlyMap<string, string>;
  readonly malformed: number;
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const BLANK = /[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const REST = /(\S+)(?:[ \t]+(-?\d+))?[ \t]*$/y;
const COMMENT = /^#[ \t]+(HELP|TYPE)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]+(.*))?$/;
const TYPES: readonly string[] = ["counter", "gauge", "histogram", "summary", "untyped"];

/** Read a whole scrape. Never throws. */
export function parseMetrics(text: string): Scrape {
  const samples: Sample[] = [];
  const types = new Map<string, MetricType>();
  const help = new Map<string, string>();
  let malformed = 0;
  for (const line of text.split("\n")) {
    const trimmed = line.replace(/^[ \t]+|[ \t\r]+$/g, "");
    if (!trimmed) continue;
    if (trimmed.startsWith("#")) {
      readComment(trimmed, types, help);
      continue;
    }
    const sample = readSample(trimmed);
    if (sample) samples.push(sample);
    else malformed++;
  }
  return { samples, types, help, malformed };
}

/**
 * The sum of all samples of a metric whose labels match; null if there is none. A counter with labels that has
 * counted nothing has no sample: where the scrape knows the metric's type it is 0.
 */
export function sumOf(scrape: Scrape, name: string, labels: Readonly<Record<string, string>> = {}): number | null {
  let sum: number | null = scrape.types.has(name) ? 0 : null;
  for (const sample of scrape.samples) {
    if (sample.name !== name) continue;
    if (Object.entries(labels).every(([label, value]) => sample.labels[label] === value)) {
      sum = (sum ?? 0) + sample.value;
    }
  }
  return sum;
}

/** Read a value as the format writes them: Go's ParseFloat, `+Inf`, `-Inf`, `NaN`. Null: not a number. */
export function parseValue(text: string): number | null {
  const special = /^([+-]?)(inf(?:inity)?|nan)$/i.exec(text);
  if (special) return special[2]?.toLowerCase() === "nan" ? Number.NaN : special[1] === "-" ? -Infinity : Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : null;
}

function readComment(line: string, types: Map<string, MetricType>, help: Map<string, string>): void {
  const [, kind, name = "", rest = ""] = COMMENT.exec(line) ?? [];
  if (kind === "HELP")
    help.set(
      name,
      rest.replace(/\\([\\n])/g, (_, escaped) => (escaped === "n" ? "\n" : "\\")),
    );
  if (kind === "TYPE" && TYPES.includes(rest)) types.set(name, rest as MetricType);
}

function readSample(line: string): Sample | null {
  const reader = new Reader(line);
  const name = reader.take(NAME);
  if (name === null) return null;
  reader.take(BLANK);
  const labels = reader.skip("{") ? readLabels(reader) : {};
  if (labels === null) return null;
  reader.take(BLANK);
  const rest = reader.match(REST);
  const value = rest?.[1] === undefined ? null : parseValue(rest[1]);
  if (value === null) return null;
  return { name, labels, value, timestamp: rest?.[2] === undefined ? null : Number(rest[2]) };
}

/** Read `name="value",…}`; a comma before the brace is allowed. */
function readLabels(reader: Reader): Record<string, string> | null {
  const labels: Record<string, string> = {};
  for (;;) {
    reader.take(BLANK);
    if (reader.skip("}")) return labels;
    const name = reader.take(LABEL);
    reader.take(BLANK);
    if (name === null || !reader.skip("=")) return null;
    reader.take(BLANK);
    const quoted = reader.match(QUOTED);
    if (quoted?.[1] === undefined) return null;
    labels[name] = unescaped(quoted[1]);
    reader.take(BLANK);
    if (reader.skip(",")) continue;
    return reader.skip("}") ? labels : null;
  }
}

/** `\\`, `\"` and `\n` are escapes; a backslash before anything else is itself. */
function unescaped(text: string): string {
  return text.replace(/\\([\\"n])/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
}

class Reader {
  #at = 0;

  constructor(private readonly line: string) {}

  match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.line);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  take(pattern: RegExp): string | null {
    return this.match(pattern)?.[0] ?? null;
  }

  skip(character: string): boolean {
    if (this.line[this.#at] !== character) return false;
    this.#at++;
    return true;
  }
}

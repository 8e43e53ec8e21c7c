// What was seen of the service over the last minutes: gauges as they are, counters as rates.

/** One look at the service: seconds since 1970, and values by name; null where there is none. */
export interface Look {
  readonly at: number;
  readonly gauges: Readonly<Record<string, number | null>>;
  readonly counters: Readonly<Record<string, number | null>>;
}

interface Row {
  readonly at: number;
  readonly values: Readonly<Record<string, number | null>>;
}

/** What there is to say of one line, over all that is kept. */
export interface Summary {
  readonly now: number | null;
  readonly lowest: number | null;
  readonly highest: number | null;
}

/** A line is broken where this many intervals passed without a look. */
const MISSED_INTERVALS = 2.5;

/**
 * Looks of the last `spanSeconds`, older ones are dropped. Rates are per second. A counter that is lower than before
 * was begun anew by a restart: what it shows was counted since then.
 */
export class Series {
  /** When the service was seen to have been restarted. */
  readonly restarts: number[] = [];
  #rows: Row[] = [];
  #last: Look | null = null;

  constructor(
    readonly spanSeconds: number,
    readonly intervalSeconds: number,
  ) {}

  /** Take a look into account; one that is not later than the last one (a clock was set) begins everything anew. */
  add(look: Look): void {
    const last = this.#last;
    if (last && look.at <= last.at) this.clear();
    const before = this.#last;
    const seconds = before ? look.at - before.at : 0;
    const isGap = seconds > MISSED_INTERVALS * this.intervalSeconds;
    if (before && isGap) this.#rows.push({ at: before.at + this.intervalSeconds, values: {} });
    const isRestart = before !== null && hasFallen(before.counters, look.counters);
    if (isRestart) this.restarts.push(look.at);
    const rates = before && !isGap ? ratesBetween(before.counters, look.counters, seconds) : {};
    this.#rows.push({ at: look.at, values: { ...look.gauges, ...rates } });
    this.#last = look;
    this.#drop(look.at - this.spanSeconds);
  }

  clear(): void {
    this.#rows = [];
    this.#last = null;
    this.restarts.length = 0;
  }

  get isEmpty(): boolean {
    return this.#rows.length === 0;
  }

  /** When the last look was; null: never. */
  get lastAt(): number | null {
    return this.#last?.at ?? null;
  }

  /** Times, then the values of each name, as uPlot takes them. */
  columns(names: readonly string[]): [number[], ...(number | null)[][]] {
    return [this.#rows.map((row) => row.at), ...names.map((name) => this.#rows.map((row) => row.values[name] ?? null))];
  }

  summary(name: string): Summary {
    const values = this.#rows.map((row) => row.values[name]).filter((value) => typeof value === "number");
    const now = this.#rows.at(-1)?.values[name] ?? null;
    if (values.length === 0) return { now, lowest: null, highest: null };
    return { now, lowest: Math.min(...values), highest: Math.max(...values) };
  }

  #drop(before: number): void {
    const kept = this.#rows.findIndex((row) => row.at >= before);
    if (kept > 0) this.#rows.splice(0, kept);
    while ((this.restarts[0] ?? before) < before) this.restarts.shift();
  }
}

type Counts = Readonly<Record<string, number | null>>;

function hasFallen(before: Counts, now: Counts): boolean {
  return Object.entries(now).some(([name, count]) => count !== null && count < (before[name] ?? 0));
}

function ratesBetween(before: Counts, now: Counts, seconds: number): Record<string, number | null> {
  const rates: Record<string, number | null> = {};
  for (const [name, count] of Object.entries(now)) {
    const earlier = before[name] ?? null;
    if (count === null || earlier === null) rates[name] = null;
    else rates[name] = (count < earlier ? count : count - earlier) / seconds;
  }
  return rates;
}

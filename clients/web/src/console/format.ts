/** Numbers and times as people read them. Words are English, as all of the console; clock times follow the reader. */

const LANGUAGE = "en";
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Unit = "day" | "hour" | "minute" | "second";
type Display = "long" | "narrow";
const UNITS: readonly (readonly [Unit, number])[] = [
  ["day", DAY],
  ["hour", HOUR],
  ["minute", MINUTE],
  ["second", 1],
];

const DECIMAL = ["", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const NUMBER = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
const RELATIVE = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "always", style: "short" });
const formats = new Map<string, Intl.NumberFormat>();

/** A count, as `12,345`. */
export function formatCount(count: number): string {
  return NUMBER.format(count);
}

/** Bytes of traffic in powers of 1000, as `3.1 MB`. */
export function formatBytes(bytes: number): string {
  return inDecimal(bytes, "");
}

/** Bytes per second, as `3.1 MB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return inDecimal(bytesPerSecond, "-per-second");
}

/** Sizes of memory and stores, which are powers of 1024, as `16 MiB`. */
export function formatSize(bytes: number): string {
  const power = powerOf(bytes, 1024, BINARY.length);
  return `${NUMBER.format(bytes / 1024 ** power)} ${BINARY[power]}`;
}

/** A length of time by its two largest units, as `2h 5m`; below a second `0s`. Negative ones count as none. */
export function formatDuration(seconds: number): string {
  return inUnits(seconds, "narrow");
}

/** A length of time in words, as `2 hours 5 minutes`. */
export function spellDuration(seconds: number): string {
  return inUnits(seconds, "long");
}

/** How long ago something was, as `2 min ago`; `just now` below five seconds, and for what a clock has ahead. */
export function formatAgo(seconds: number): string {
  if (seconds < 5) return "just now";
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return RELATIVE.format(-Math.floor(seconds / size), unit).replace(".", "");
  }
  return "just now";
}

/** A moment (seconds since 1970) by the reader's clock: the time alone if it is within the day of `now`. */
export function formatWhen(at: number, now: number, locale?: string): string {
  const then = new Date(at * 1000);
  const isToday = then.toDateString() === new Date(now * 1000).toDateString();
  const day: Intl.DateTimeFormatOptions = isToday ? {} : { weekday: "short", day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(locale, { ...day, hour: "2-digit", minute: "2-digit" }).format(then);
}

/** A moment with date, seconds and zone, for details. */
export function formatMoment(at: number, locale?: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "long" }).format(new Date(at * 1000));
}

/** Foreign text as one harmless line: without control characters and overrides of direction, cut at `limit`. */
export function plainLine(text: string, limit = 400): string {
  const plain = text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, " ").trimEnd();
  return plain.length > limit ? `${plain.slice(0, limit)}…` : plain;
}

/** `1 viewer`, `2 viewers`. */
export function plural(count: number, singular: string, several = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : several}`;
}

/**
 * Read a length of time, in seconds: `90`, `90s`, `1.5 h`, `1d 12h`, `2 hours 5 minutes`. A bare number is minutes.
 * Null for anything else, and for none at all.
 */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) * MINUTE || null;
  if (!/^(\d+(\.\d+)?\s*[a-z]+[\s,]*)+$/.test(trimmed)) return null;
  let seconds = 0;
  for (const [, amount = "", word = ""] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/g)) {
    const size = sizeOf(word);
    if (size === null) return null;
    seconds += Number(amount) * size;
  }
  return seconds || null;
}

function sizeOf(word: string): number | null {
  if (/^(s|secs?|seconds?)$/.test(word)) return 1;
  if (/^(m|mins?|minutes?)$/.test(word)) return MINUTE;
  if (/^(h|hrs?|hours?)$/.test(word)) return HOUR;
  if (/^(d|days?)$/.test(word)) return DAY;
  return /^(w|weeks?)$/.test(word) ? 7 * DAY : null;
}

function inUnits(seconds: number, display: Display): string {
  const whole = Math.max(0, Math.floor(seconds));
  const first = UNITS.findIndex(([, size]) => whole >= size);
  if (first < 0) return inUnit(0, "second", display);
  let rest = whole;
  const parts: string[] = [];
  for (const [unit, size] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) parts.push(inUnit(count, unit, display));
  }
  return parts.join(" ");
}

function inUnit(count: number, unit: string, unitDisplay: "long" | "narrow" | "short", digits = 0): string {
  const name = `${unit} ${unitDisplay} ${digits}`;
  const format =
    formats.get(name) ??
    new Intl.NumberFormat(LANGUAGE, { style: "unit", unit, unitDisplay, maximumFractionDigits: digits });
  formats.set(name, format);
  return format.format(count);
}

function inDecimal(bytes: number, suffix: string): string {
  const power = powerOf(bytes, 1000, DECIMAL.length);
  if (power === 0) return `${NUMBER.format(Math.round(bytes))} B${suffix && "/s"}`; // Intl would say "0 byte"
  const scaled = bytes / 1000 ** power;
  return inUnit(scaled, `${DECIMAL[power]}${suffix}`, "short", scaled < 100 ? 1 : 0);
}

/** Which power to write a number in: 999.96 kB would be rounded to 1,000 kB, so it is written in the next one. */
function powerOf(bytes: number, base: number, powers: number): number {
  let power = 0;
  while (power < powers - 1 && Math.abs(bytes) / base ** power >= base * 0.9995) power++;
  return power;
}

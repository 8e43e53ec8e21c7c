// What somebody wants of a new session: from a form to a request, and what is remembered for the next time.
import { parseDuration } from "./format.ts";
import type { NewSession, SizePolicy } from "./session.ts";

export const SHELLS = ["bash", "zsh", "fish", "sh", "pwsh"] as const;
export const POLICIES: Readonly<Record<SizePolicy, string>> = {
  smallest: "Smallest viewer: everybody sees all of it",
  latest: "Latest viewer: whoever typed or resized last",
  owner: "The owner’s",
  fixed: "Fixed: as it was created",
};
/** The name of a backend that is none: the service chooses. */
export const AUTO = "auto";
/** In seconds. */
export const LIFETIMES = [900, 3600, 8 * 3600, 86_400, 7 * 86_400] as const;
/** In bytes. */
export const RETENTIONS = [1, 4, 16, 64].map((mebibytes) => mebibytes * 1024 * 1024);
/** At most, in characters: what the service takes. */
export const SIZE_LIMIT = 1000;

export interface Pair {
  readonly name: string;
  readonly value: string;
}

/** The state of the form. "" is the service's default. */
export interface Wishes {
  readonly program: string;
  /** For `program` "custom": one line as a shell would read it, or an argument in each line. */
  readonly command: string;
  readonly name: string;
  readonly sizing: "fit" | "fixed";
  readonly rows: string;
  readonly cols: string;
  readonly cwd: string;
  readonly env: readonly Pair[];
  readonly labels: readonly Pair[];
  /** Seconds, or "custom": as `lifetimeText` says. */
  readonly lifetime: string;
  readonly lifetimeText: string;
  readonly keepalive: boolean;
  readonly policy: string;
  readonly retention: string;
  readonly backend: string;
}

export const NO_WISHES: Wishes = {
  program: "",
  command: "",
  name: "",
  sizing: "fit",
  rows: "24",
  cols: "80",
  cwd: "",
  env: [],
  labels: [],
  lifetime: "",
  lifetimeText: "",
  keepalive: true,
  policy: "",
  retention: "",
  backend: "",
};

/** What is sent, and what is wrong with it already, by the service's names of fields. */
export interface Request {
  readonly wanted: NewSession;
  readonly errors: Readonly<Record<string, string>>;
}

/** Return the request for what the form says; `fit` is the size of the window in characters. */
export function requestOf(wishes: Wishes, fit: { rows: number; cols: number }): Request {
  const errors: Record<string, string> = {};
  const size = wishes.sizing === "fit" ? fit : { rows: wholeOf(wishes.rows), cols: wholeOf(wishes.cols) };
  for (const field of ["rows", "cols"] as const) {
    if (!(size[field] >= 1 && size[field] <= SIZE_LIMIT)) errors[field] = `a whole number from 1 to ${SIZE_LIMIT}`;
  }
  const command = wishes.program === "custom" ? commandOf(wishes.command) : null;
  if (command && !command[0]) errors["command"] = "which program?";
  const seconds = lifetimeOf(wishes);
  if (seconds === null) errors["ttl_seconds"] = "a length of time, as 90m, 12h or 2d";
  const wanted: NewSession = {
    ...size,
    ...(command ? { command } : wishes.program && { shell: wishes.program }),
    ...(wishes.name.trim() && { name: wishes.name.trim() }),
    ...(wishes.cwd && { cwd: wishes.cwd }),
    ...pairs("env", wishes.env, errors),
    ...pairs("labels", wishes.labels, errors),
    ...(seconds && { ttl_seconds: seconds }),
    ...(!wishes.keepalive && { keepalive: false }),
    ...(isPolicy(wishes.policy) && { size_policy: wishes.policy }),
    ...(wishes.retention && { retention_bytes: Number(wishes.retention) }),
    ...(wishes.backend && { backend: wishes.backend }),
  };
  return { wanted, errors };
}

/** How long it shall live without use, in seconds: 0 the service's default, null not to be understood. */
export function lifetimeOf(wishes: Wishes): number | null {
  return wishes.lifetime === "custom" ? parseDuration(wishes.lifetimeText) : Number(wishes.lifetime);
}

/** Return the words of a command: of several lines each is one, a single one is read as a shell would read it. */
export function commandOf(text: string): string[] {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  while (lines.at(-1) === "") lines.pop();
  return lines.length > 1 ? lines : splitWords(lines[0] ?? "");
}

/** Split at blanks outside of quotes. Backslash escapes, and in double quotes only `"` and itself; as POSIX shells do. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:'[^']*'?|"(?:[^"\\]|\\.?)*"?|\\.?|[^\s'"\\])+/gs)) {
    words.push(
      word.replace(/'([^']*)'?|"((?:[^"\\]|\\.?)*)"?|\\(.?)/gs, (_, single, double, escaped) =>
        single !== undefined ? single : double !== undefined ? double.replace(/\\(["\\$`])/g, "$1") : escaped,
      ),
    );
  }
  return words;
}

/** Whether a variable's value had better not be shown while it is typed. */
export function isSecretName(name: string): boolean {
  if (/^(old)?pwd$/i.test(name)) return false; // the working directory
  return /pass(word|wd|phrase|$)|secret|token|credential|auth|api_?key|private|(^|_)(key|pass|pwd|pw|pin)s?$/i.test(
    name,
  );
}

// -- memory

type Storage = Pick<globalThis.Storage, "getItem" | "setItem">;
const KEY = "terminal-service.new-session";

/**
 * Keep the choices for the next time. Not kept is what may be secret, the values of variables and the command; and
 * the name, which is for one session.
 */
export function remember(wishes: Wishes, storage: Storage | null): void {
  const { command: _, name: __, ...kept } = wishes;
  const env = wishes.env.map(({ name }) => ({ name, value: "" }));
  try {
    storage?.setItem(KEY, JSON.stringify({ ...kept, env }));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // full, or forbidden: then the next form begins empty
  }
}

/** Return the choices of the last time; what an older page left there may be anything. */
export function recall(storage: Storage | null): Wishes {
  const kept = parse(storage);
  const known = Object.entries(NO_WISHES).filter(([name, usual]) => isLike(kept[name], usual));
  const wishes: Wishes = { ...NO_WISHES, ...Object.fromEntries(known.map(([name]) => [name, kept[name]])) };
  return { ...wishes, sizing: wishes.sizing === "fixed" ? "fixed" : "fit" };
}

function parse(storage: Storage | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(storage?.getItem(KEY) ?? "null");
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return {};
    throw error;
  }
}

function isLike(value: unknown, usual: unknown): boolean {
  if (!Array.isArray(usual)) return typeof value === typeof usual;
  return (
    Array.isArray(value) && value.every((each) => typeof each?.name === "string" && typeof each.value === "string")
  );
}

// -- parts of a request

/** What the service takes for a name; it says the same, as a pattern. */
const NAMES = {
  env: { pattern: /^[^=\0]+$/, allowed: "a name has no =" },
  labels: {
    pattern: /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/,
    allowed: "a name has letters, digits, and . _ / - within, at most 63",
  },
} as const;

function pairs(field: "env" | "labels", given: readonly Pair[], errors: Record<string, string>): Partial<NewSession> {
  const used = given.filter((pair) => pair.name || pair.value);
  const wrong = pairErrors(field, given);
  if (wrong) errors[field] = wrong;
  return used.length ? { [field]: Object.fromEntries(used.map(({ name, value }) => [name, value])) } : {};
}

/** What is wrong with the names of pairs; "": nothing. Pairs that are empty do not count. */
export function pairErrors(field: "env" | "labels", given: readonly Pair[]): string {
  const names = given.filter((pair) => pair.name || pair.value).map((pair) => pair.name);
  const wrong = names.find((name) => !NAMES[field].pattern.test(name));
  if (wrong !== undefined) return wrong ? `“${wrong}”: ${NAMES[field].allowed}` : "a value has no name";
  const twice = names.find((name, place) => names.indexOf(name) < place);
  return twice ? `“${twice}” is there twice` : "";
}

/** Whether a text names a size policy. */
export function isPolicy(text: string): text is SizePolicy {
  return Object.hasOwn(POLICIES, text);
}

function wholeOf(text: string): number {
  return /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
}

/** The service's HTTP API; only this module fetches, and only it and `credentials.ts` know the key. */
import type { Role, SignalName } from "../client/types.ts";
import { Credentials, type KeyStorage, tabStorage } from "./credentials.ts";
import { ApiProblem, problemOf, Unreachable } from "./problem.ts";
import type {
  Backend,
  Front,
  Health,
  KeptAlive,
  NewSession,
  Session,
  SessionChanges,
  SessionState,
  Ticket,
} from "./session.ts";

const SESSIONS = "api/v1/sessions";
const PAGE_SESSIONS = 500;
/** The most a list shows, in pages: a service has 1,000 sessions unless it was told otherwise. */
const PAGES_LIMIT = 20;
const TIMEOUT_MS = 15_000;
/** Starting a program may mean starting a machine; ending one waits for it to obey. */
const SLOW_TIMEOUT_MS = 120_000;
/** Below this the clocks are the same, as far as the whole seconds of a Date header can tell. */
const SKEW_MS = 2000;

/** How a request may be given up. */
export interface Asking {
  signal?: AbortSignal | undefined;
}

export interface ApiOptions {
  /** Address below which the service answers, ending in a slash; default: where the page is, so a proxy may add a prefix. */
  base?: string;
  fetch?: typeof fetch;
  /** Where a key is kept while the tab is open; null: in memory only. */
  storage?: KeyStorage | null;
}

interface Asked extends Asking {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  timeoutMs?: number;
  accept?: string;
  /** Statuses beside the successful ones whose answer is an answer. */
  also?: readonly number[];
}

/**
 * A client of the API. Every method rejects with ApiProblem, Unreachable, or the AbortError of its signal.
 *
 * Events: `sign-in-needed` when the service wants a key, or another one (`signInProblem` says why); `signed-in`;
 * `signed-out`; `sessions-touched` when sessions are known to be others than before: who shows them looks again.
 */
export class Api extends EventTarget {
  /** Why a key is wanted; null: none is, as far as is known. */
  signInProblem: ApiProblem | null = null;
  /** Whether the list of sessions was too long to be read to its end. */
  isListCut = false;
  readonly #base: string;
  readonly #fetch: typeof fetch;
  readonly #credentials: Credentials;
  #skewMs = 0;

  constructor(options: ApiOptions = {}) {
    super();
    this.#base = options.base ?? new URL(".", document.baseURI).href;
    this.#fetch = options.fetch ?? ((...asked) => fetch(...asked));
    this.#credentials = new Credentials(options.storage === undefined ? tabStorage() : options.storage);
  }

  // -- who we are

  /** Whether a key is sent with every request. */
  get isSignedIn(): boolean {
    return this.#credentials.key !== null;
  }

  /** Try a key, and keep it until the tab is closed or `signOut`. Rejects with ApiProblem (401) if it is wrong. */
  async signIn(key: string, asking: Asking = {}): Promise<void> {
    const headers = { "X-API-Key": Credentials.check(key) };
    await this.#send(`${SESSIONS}?limit=1`, { ...asking, headers });
    this.#credentials.key = headers["X-API-Key"];
    this.signInProblem = null;
    this.dispatchEvent(new Event("signed-in"));
  }

  /** Have whoever shows the form for signing in show it. */
  askToSignIn(): void {
    this.dispatchEvent(new Event("sign-in-needed"));
  }

  /** Forget the key. */
  signOut(): void {
    this.#credentials.key = null;
    this.signInProblem = null;
    this.dispatchEvent(new Event("signed-out"));
  }

  // -- sessions

  /** All sessions one may know of, oldest first, page by page; by default also those that have ended. */
  async list(states: readonly (SessionState | "living" | "all")[] = ["all"], asking: Asking = {}): Promise<Session[]> {
    const found: Session[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < PAGES_LIMIT; page++) {
      const query = new URLSearchParams([
        ...states.map((state) => ["state", state]),
        ["limit", String(PAGE_SESSIONS)],
        ...(cursor ? [["cursor", cursor]] : []),
      ]);
      const response = await this.#send(`${SESSIONS}?${query}`, asking);
      found.push(...(await readJson<Session[]>(response)));
      cursor = nextCursor(response.headers.get("Link"));
      if (cursor === null) break;
    }
    this.isListCut = cursor !== null;
    return found;
  }

  async get(sessionId: string, asking: Asking = {}): Promise<Session> {
    return readJson(await this.#send(one(sessionId), asking));
  }

  /** Start a session. The same `idempotencyKey` with the same wishes starts no second one, however often it is sent. */
  async create(wanted: NewSession, asking: Asking & { idempotencyKey?: string } = {}): Promise<Session> {
    const headers = { "Idempotency-Key": asking.idempotencyKey ?? randomKey() };
    const { signal } = asking;
    const request = { method: "POST", body: wanted, headers, signal, timeoutMs: SLOW_TIMEOUT_MS };
    return this.#changing(() => this.#send(SESSIONS, request).then(readJson<Session>));
  }

  async change(sessionId: string, changes: SessionChanges, asking: Asking = {}): Promise<Session> {
    const request = { ...asking, method: "PATCH", body: changes };
    return this.#changing(() => this.#send(one(sessionId), request).then(readJson<Session>));
  }

  /** Let its time to live begin anew. */
  async keepAlive(sessionId: string, asking: Asking = {}): Promise<KeptAlive> {
    const request = { ...asking, method: "POST" };
    return this.#changing(() => this.#send(`${one(sessionId)}/keepalive`, request).then(readJson<KeptAlive>));
  }

  /** End the program and everything it started; resolves when they are gone. Twice is harmless. */
  async end(sessionId: string, asking: Asking = {}): Promise<void> {
    const request = { ...asking, method: "DELETE", timeoutMs: SLOW_TIMEOUT_MS };
    await this.#changing(() => this.#send(one(sessionId), request));
  }

  /** Send a signal to what runs in the foreground. */
  async signal(sessionId: string, name: SignalName, asking: Asking = {}): Promise<void> {
    await this.#send(`${one(sessionId)}/signal`, { ...asking, method: "POST", body: { name } });
  }

  /** A single-use ticket for the next attach. */
  async ticket(sessionId: string, role: Role, asking: Asking = {}): Promise<Ticket> {
    return readJson(await this.#send(`${one(sessionId)}/tickets`, { ...asking, method: "POST", body: { role } }));
  }

  /** What `ticket` of a client asks for: null where we have no key, and the service knows us by other means. */
  async ticketFor(sessionId: string, role: Role = "writer"): Promise<string | null> {
    return this.isSignedIn ? (await this.ticket(sessionId, role)).ticket : null;
  }

  /** Tell who shows sessions that something has become of them. */
  touched(): void {
    this.dispatchEvent(new Event("sessions-touched"));
  }

  // -- the service

  /** How the service is; one that cannot serve (503) is an answer too. */
  async health(asking: Asking = {}): Promise<Health> {
    return readJson(await this.#send("api/v1/health", { ...asking, also: [503] }));
  }

  /** Where sessions can run, the default first; it is known without looking. */
  async backends(asking: Asking = {}): Promise<Backend[]> {
    return readJson(await this.#send("api/v1/backends", asking));
  }

  /** What this service is. */
  async front(asking: Asking = {}): Promise<Front> {
    return readJson(await this.#send("", asking));
  }

  /** The metrics, in Prometheus' text format. */
  async metrics(asking: Asking = {}): Promise<string> {
    const response = await this.#send("metrics", { ...asking, accept: "text/plain" });
    return reaching(() => response.text());
  }

  /** The time of the service's clock in seconds since 1970: what its times are to be compared with. */
  now(): number {
    return (Date.now() + this.#skewMs) / 1000;
  }

  /** The address of something of the service, for links. */
  address(path: string): string {
    return new URL(path, this.#base).href;
  }

  // -- requests

  /**
   * Do something that somebody wants done: who has declined to sign in before is asked again. Also what failed may have
   * changed something: no answer came, or a program had just ended.
   */
  async #changing<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) this.askToSignIn();
      throw error;
    } finally {
      this.touched();
    }
  }

  async #send(path: string, asked: Asked): Promise<Response> {
    const key = asked.headers?.["X-API-Key"] ?? this.#credentials.key;
    const timeout = AbortSignal.timeout(asked.timeoutMs ?? TIMEOUT_MS);
    const sentAt = Date.now();
    const request: RequestInit = {
      method: asked.method ?? "GET",
      headers: {
        Accept: asked.accept ?? "application/json",
        ...(key === null ? {} : { "X-API-Key": key }),
        ...(asked.body === undefined ? {} : { "Content-Type": "application/json" }),
        ...asked.headers,
      },
      body: asked.body === undefined ? null : JSON.stringify(asked.body),
      signal: asked.signal ? AbortSignal.any([asked.signal, timeout]) : timeout,
      cache: "no-store",
    };
    const response = await reaching(() => this.#fetch(this.address(path), request));
    this.#compareClocks(response, sentAt);
    if (response.ok || asked.also?.includes(response.status)) return response;
    const problem = await problemOf(response);
    if (problem.status === 401) this.#askForKey(problem, key);
    throw problem;
  }

  /** An answer to a request that was sent with an earlier key says nothing about the one we have now. */
  #askForKey(problem: ApiProblem, usedKey: string | null): void {
    if (usedKey !== this.#credentials.key) return;
    const isNews = this.signInProblem === null; // else who was asked has declined, and is not asked with every look
    this.#credentials.key = null;
    this.signInProblem = problem;
    if (isNews) this.askToSignIn();
  }

  #compareClocks(response: Response, sentAt: number): void {
    const theirs = Date.parse(response.headers.get("Date") ?? "");
    if (Number.isNaN(theirs)) return;
    const skewMs = theirs + 500 - (sentAt + Date.now()) / 2; // a Date header is cut to whole seconds
    this.#skewMs = Math.abs(skewMs) < SKEW_MS ? 0 : skewMs;
  }
}

/** The cursor in a `Link` header's next page (RFC 8288), null if there is none; only the cursor: proxies move paths. */
export function nextCursor(link: string | null): string | null {
  for (const [, target = "", parameters = ""] of (link ?? "").matchAll(/<([^>]*)>((?:[^,"]|"[^"]*")*)/g)) {
    if (!/;\s*rel\s*=\s*"?(?:[^"]*\s)?next(?:\s[^"]*)?"?\s*(?:;|$)/i.test(parameters)) continue;
    return new URL(target, "http://any.invalid/").searchParams.get("cursor");
  }
  return null;
}

/** A key that nobody else will think of; `crypto.randomUUID` exists in secure contexts only. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function readJson<Shape>(response: Response): Promise<Shape> {
  const kind = response.headers.get("Content-Type") ?? "";
  if (!/\bjson\b/.test(kind)) {
    const detail = `the answer is ${kind || "of no type"} where JSON was expected: something in between answered`;
    throw new ApiProblem(response.status, "unexpected_answer", "Unexpected answer", detail);
  }
  return reaching(() => response.json() as Promise<Shape>);
}

/** Name what fetch only calls a TypeError, and what took too long; an answer may be cut off in its middle too. */
async function reaching<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      throw new Unreachable("the service did not answer in time", true, { cause: error });
    }
    if (error instanceof TypeError) throw new Unreachable("the service cannot be reached", false, { cause: error });
    if (error instanceof SyntaxError) throw new Unreachable("the answer cannot be read", false, { cause: error });
    throw error;
  }
}

function one(sessionId: string): string {
  return `${SESSIONS}/${encodeURIComponent(sessionId)}`;
}

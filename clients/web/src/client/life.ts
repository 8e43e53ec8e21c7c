/** The life of a client: connecting, losing, waiting, coming back. What is said on a connection is others' matter. */

import { Backoff } from "./backoff.ts";
import { judge } from "./closes.ts";
import { Connection, OPENING_MS } from "./connection.ts";
import type { Clock, Events, State, WakeUps, WebSocketLike } from "./types.ts";
import type { ServerMessage } from "./wire.ts";

/** An attempt younger than this is let go on when there is news of the network. */
const FRESH_MS = 3_000;
type Final = "idle" | "ended" | "refused";

/** What a life needs, and whom it tells. */
export interface Host {
  /** Make the socket of the next connection. May throw: then there is no use in trying. */
  makeSocket(ticket: string | null): WebSocketLike;
  /** Ask for a ticket; null where none is needed. */
  readonly ticket: (() => Promise<string | null>) | null;
  readonly wakeUps: WakeUps;
  readonly clock: Clock;
  /** Whether a new connection can be coped with now; `Life.retry` tells that it can. */
  isReady(): boolean;
  take(message: ServerMessage): void;
  measured(rttMs: number): void;
  became(event: Events["state"]): void;
  failed(code: string, message: string): void;
}

export class Life {
  state: State = "idle";
  /** The connection there is, attached or not. */
  connection: Connection | null = null;
  readonly #host: Host;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  #timer: unknown;
  #attempt = 0;
  #begunAt = 0;
  #notBefore = 0;
  #stopWakeUps: (() => void) | null = null;

  /** Begin idle. */
  constructor(host: Host) {
    this.#host = host;
    this.#clock = host.clock;
    this.#backoff = new Backoff(host.clock.random);
  }

  /** Whether there is, or will be, a connection. */
  get isUnderWay(): boolean {
    return this.state === "open" || this.state === "connecting" || this.state === "waiting";
  }

  /** Connect now, whatever was going on. */
  begin(): void {
    this.#stopWakeUps ??= this.#host.wakeUps(
      () => this.#wake(),
      () => this.#sleep(),
    );
    this.#leave();
    this.#backoff.reset();
    this.#connect();
  }

  /** The connection is attached. */
  opened(): void {
    this.#become("open", { retryInMs: null, code: null, reason: "" });
  }

  /** The connection has carried something since: a loss begins to count anew. */
  proved(): void {
    this.#backoff.reset();
  }

  /** Give this connection up, and come back with another. */
  renew(reason: string): void {
    this.#leave();
    this.#wait(this.#backoff.next(), null, reason);
  }

  /** What kept a new connection from being begun has passed. */
  retry(): void {
    if (this.state === "waiting") this.#connect();
  }

  /** Be done: idle until told, or for good. */
  halt(state: Final, code: number | null, reason: string): void {
    this.#leave();
    this.#stopWakeUps?.();
    this.#stopWakeUps = null;
    this.#become(state, { retryInMs: null, code, reason });
  }

  /** The network is back or the page awake: try now what was put off, and doubt what seems to be there. */
  #wake(): void {
    if (this.state === "open") this.connection?.probe();
    const isStale = this.state === "connecting" && this.#clock.now() - this.#begunAt > FRESH_MS;
    if (this.state !== "waiting" && !isStale) return;
    this.#leave();
    this.#backoff.reset();
    const waitMs = this.#notBefore - this.#clock.now();
    if (waitMs > 0) this.#wait(waitMs, null, "as the service asked");
    else this.#connect();
  }

  /** The page is left, perhaps to come back from the cache, where no connection may be. */
  #sleep(): void {
    if (!this.isUnderWay) return;
    this.#leave();
    this.#become("waiting", { retryInMs: null, code: null, reason: "the page was left" });
  }

  #connect(): void {
    this.#clock.clearTimeout(this.#timer);
    if (!this.#host.isReady()) {
      this.#become("waiting", { retryInMs: null, code: null, reason: "the screen is behind" });
      return;
    }
    const attempt = ++this.#attempt;
    this.#begunAt = this.#clock.now();
    this.#become("connecting", { retryInMs: null, code: null, reason: "" });
    if (attempt !== this.#attempt) return; // a listener has had other ideas
    const { ticket } = this.#host;
    if (ticket === null) this.#open(null);
    else this.#askTicket(ticket, attempt);
  }

  #askTicket(ticket: () => Promise<string | null>, attempt: number): void {
    this.#timer = this.#clock.setTimeout(() => this.#missTicket("it took too long"), OPENING_MS);
    Promise.resolve()
      .then(ticket)
      .then(
        (given) => attempt === this.#attempt && this.#open(given),
        (error: unknown) => attempt === this.#attempt && this.#missTicket(textOf(error)),
      );
  }

  #missTicket(reason: string): void {
    this.#leave();
    const attempt = this.#attempt;
    this.#host.failed("ticket", reason);
    if (attempt === this.#attempt) this.#wait(this.#backoff.next(), null, `no ticket: ${reason}`);
  }

  #open(ticket: string | null): void {
    this.#clock.clearTimeout(this.#timer);
    let socket: WebSocketLike;
    try {
      socket = this.#host.makeSocket(ticket);
    } catch (error) {
      this.halt("refused", null, textOf(error)); // a page's policy, say, that forbids the address
      return;
    }
    const host = this.#host;
    const watcher = {
      message: (message: ServerMessage) => host.take(message),
      unreadable: (what: string) => host.failed("malformed", what),
      measured: (rttMs: number) => host.measured(rttMs),
      closed: (code: number, reason: string) => this.#lose(code, reason),
    };
    this.connection = new Connection(socket, watcher, this.#clock);
  }

  #lose(code: number, reason: string): void {
    this.#leave();
    const verdict = judge(code, reason);
    if (verdict.next === "retry") {
      this.#notBefore = this.#clock.now() + verdict.afterMs;
      this.#wait(verdict.afterMs + this.#backoff.next(verdict.isBusy), code, reason);
    } else this.halt(verdict.next, code, reason);
  }

  #wait(ms: number, code: number | null, reason: string): void {
    this.#timer = this.#clock.setTimeout(() => this.#connect(), ms);
    this.#become("waiting", { retryInMs: ms, code, reason });
  }

  /** Have no connection, no attempt and no plan. */
  #leave(): void {
    this.#attempt += 1;
    this.#clock.clearTimeout(this.#timer);
    this.connection?.close();
    this.connection = null;
  }

  #become(state: State, why: { retryInMs: number | null; code: number | null; reason: string }): void {
    this.state = state;
    this.#host.became({ state, attempt: this.#backoff.attempts, ...why });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

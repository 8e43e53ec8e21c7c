// Asking again and again: how often, when not, and what is told of it. Views own one each.
import type { ReactiveController, ReactiveControllerHost } from "lit";
import type { Api } from "./api.ts";
import { ApiProblem } from "./problem.ts";

const LONGEST_MS = 30_000;
/** A service that takes long to answer is not asked for more than this share of its time. */
const SHARE = 0.1;

/** Sessions that are touched within so many milliseconds, as when a service is back, are looked at together. */
const TOUCHED_MS = 100;

/** How the last attempt went. */
export interface Attempt {
  /** In a row, this one included. */
  readonly failures: number;
  readonly tookMs: number;
  /** What the service asked for; null: nothing. */
  readonly retryAfterMs: number | null;
}

/** Return how long to wait after an attempt; `random` is in 0..1, and spreads clients that lost the service together. */
export function delayAfter(attempt: Attempt, intervalMs: number, random: number): number {
  const usual = Math.max(intervalMs, attempt.tookMs / SHARE);
  if (attempt.failures === 0) return Math.min(usual, LONGEST_MS);
  const backOff = Math.min(LONGEST_MS, usual * 2 ** Math.min(attempt.failures, 10));
  return Math.max(backOff * (0.5 + random / 2), attempt.retryAfterMs ?? 0);
}

/** Who polls: a view of what an Api tells. */
export type PollHost = ReactiveControllerHost & HTMLElement & { readonly api: Api | null };

/**
 * Runs `task` while its host is on a page that is looked at: every `intervalMs`, less often when it fails. After a
 * refusal of our identity it waits for `now`, or for somebody to sign in. What the page itself did, or saw happen, to
 * sessions is looked at soon. With another Api, and when somebody signs
 * out, `forget` is called: what is known was told to somebody else. The task must end when its signal is aborted.
 */
export class Poll implements ReactiveController {
  /** What went wrong the last time; null: nothing. */
  error: unknown = null;
  failures = 0;
  /** When the next attempt is due, in milliseconds since 1970; null: none is planned. */
  nextAt: number | null = null;
  isBusy = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #abort: AbortController | null = null;
  readonly #host: PollHost;
  readonly #task: (signal: AbortSignal) => Promise<void>;
  readonly #intervalMs: number;
  readonly #forget: () => void;
  #api: Api | null = null;

  constructor(
    host: PollHost,
    task: (signal: AbortSignal) => Promise<void>,
    intervalMs: number,
    forget: () => void = () => {},
  ) {
    this.#host = host;
    this.#task = task;
    this.#intervalMs = intervalMs;
    this.#forget = forget;
    host.addController(this);
  }

  hostConnected(): void {
    document.addEventListener("visibilitychange", this.#onWake);
    window.addEventListener("online", this.#onWake);
    window.addEventListener("pageshow", this.#onWake);
    this.#listen(this.#host.api);
    this.now();
  }

  hostDisconnected(): void {
    document.removeEventListener("visibilitychange", this.#onWake);
    window.removeEventListener("online", this.#onWake);
    window.removeEventListener("pageshow", this.#onWake);
    this.#listen(null);
    this.#stop();
  }

  hostUpdate(): void {
    if (!this.#host.isConnected || this.#host.api === this.#api) return;
    if (this.#api) this.#forget();
    this.#listen(this.#host.api);
    this.now();
  }

  #listen(api: Api | null): void {
    this.#api?.removeEventListener("signed-in", this.#onSignedIn);
    this.#api?.removeEventListener("signed-out", this.#onSignedOut);
    this.#api?.removeEventListener("sessions-touched", this.#onTouched);
    this.#api = api;
    api?.addEventListener("sessions-touched", this.#onTouched);
    api?.addEventListener("signed-in", this.#onSignedIn);
    api?.addEventListener("signed-out", this.#onSignedOut);
  }

  /** Ask at once, whatever was planned; what is under way is given up. */
  now(): void {
    this.#stop();
    if (this.#host.api && this.#host.isConnected && !document.hidden) void this.#attempt();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.nextAt = null;
    this.#abort?.abort();
    this.#abort = null;
    this.isBusy = false;
  }

  readonly #onTouched = (): void => {
    this.#soon ??= setTimeout(() => this.now(), TOUCHED_MS);
  };

  async #attempt(): Promise<void> {
    if (!this.#host.checkVisibility()) {
      this.#plan(this.#intervalMs); // in a folded part of the page: nobody sees it
      return;
    }
    const abort = new AbortController();
    this.#abort = abort;
    this.isBusy = true;
    this.#host.requestUpdate();
    const startedAt = performance.now();
    let error: unknown = null;
    try {
      await this.#task(abort.signal);
    } catch (reason) {
      error = reason;
    }
    if (abort.signal.aborted) return; // another attempt, or none, has taken its place
    this.isBusy = false;
    this.#settle(error, performance.now() - startedAt);
  }

  #settle(error: unknown, tookMs: number): void {
    this.error = error;
    this.failures = error === null ? 0 : this.failures + 1;
    this.#host.requestUpdate();
    const refusal = error instanceof ApiProblem ? error : null;
    if (refusal?.status === 401) return;
    const attempt = { failures: this.failures, tookMs, retryAfterMs: refusal?.retryAfterMs ?? null };
    this.#plan(delayAfter(attempt, this.#intervalMs, Math.random()));
  }

  #plan(delayMs: number): void {
    clearTimeout(this.#timer);
    this.nextAt = Date.now() + delayMs;
    this.#timer = setTimeout(() => void this.#attempt(), delayMs);
  }

  readonly #onSignedIn = (): void => this.now();

  readonly #onSignedOut = (): void => {
    this.#forget();
    this.now();
  };

  readonly #onWake = (): void => {
    if (document.hidden) this.#stop();
    else this.now();
  };
}

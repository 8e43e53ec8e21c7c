/** Whether the other end is still there: what to ask, when, and when to give up. No I/O, no clock of its own. */

/** How often the round trip is measured. */
export const INTERVAL_MS = 15_000;
const GRACE_MS = 10_000;
/** Typed, and no answer: somebody is waiting. */
const TYPED_GRACE_MS = 5_000;
/** The page woke up, or the network came back: nothing is known, so ask at once and do not wait long. */
const WAKE_GRACE_MS = 2_000;
/** How many round trips an answer may take on top. */
const GRACE_TRIPS = 4;
/** A timer later than this was held up: the page was frozen, throttled or busy, and could not hear either. */
const LATE_MS = 1_500;
/** A round trip longer than this was a page asleep. */
const TRIP_LIMIT_MS = 30_000;
const UNKNOWN_TRIP_MS = 100;
const SMOOTHING = 4;
/** Of so many the shortest says how slow the link is: the others may have waited for a page that was busy. */
const TRIPS_KEPT = 4;

export type Step = "ping" | "dead" | null;

/**
 * Asks by ping, and takes any message for an answer. Whoever owns it sends the pings and calls `tick` at `dueAt`.
 *
 * A deadline that is noticed late proves nothing: the answer may lie in the queue behind the timer. So it is put
 * once more, on the condition that is known to hold now; only a second silence in a row counts whatever the timer.
 */
export class Liveness {
  /** When `tick` wants to be called. */
  dueAt: number;
  #rttMs: number | null = null;
  #trips: number[] = [];
  #heardAt: number;
  #pingedAt: number;
  #deadline: number | null = null;
  #isForgiven = false;
  readonly #intervalMs: number;

  /** Begin at `now`: the connection has just been heard. The first tick is due at once, to know the round trip. */
  constructor(now: number, intervalMs = INTERVAL_MS) {
    this.#heardAt = now;
    this.#pingedAt = now - intervalMs;
    this.#intervalMs = intervalMs;
    this.dueAt = now;
  }

  /** Note that something arrived. */
  heard(now: number): void {
    this.#heardAt = now;
    this.#deadline = null;
    this.#isForgiven = false;
  }

  /** Note the answer to the ping sent at `sentAt`; return the smoothed round trip in milliseconds, once known. */
  answered(sentAt: number, now: number): number | null {
    const trip = now - sentAt;
    if (trip >= 0 && trip < TRIP_LIMIT_MS) {
      const before = this.#rttMs ?? trip;
      this.#rttMs = before + (trip - before) / SMOOTHING;
      this.#trips = [trip, ...this.#trips].slice(0, TRIPS_KEPT);
    }
    return this.#rttMs;
  }

  /** Something was typed. Asks if nothing was heard lately: then the wait for an answer need not be long. */
  typed(now: number): Step {
    return this.#deadline === null && now - this.#heardAt > TYPED_GRACE_MS ? this.#ask(now, TYPED_GRACE_MS) : null;
  }

  /** The page woke up, or the network is back: what was true before may not be now. */
  woke(now: number): Step {
    return this.#ask(now, WAKE_GRACE_MS);
  }

  /** What to do now; call again at `dueAt`. */
  tick(now: number): Step {
    const wasLate = now - this.dueAt > LATE_MS;
    if (this.#deadline === null) {
      this.dueAt = this.#pingedAt + this.#intervalMs;
      return now >= this.dueAt ? this.#ask(now, GRACE_MS) : null;
    }
    if (now < this.#deadline) {
      this.dueAt = this.#deadline;
      return null;
    }
    if (!wasLate || this.#isForgiven) return "dead";
    this.#isForgiven = true;
    return this.#ask(now, WAKE_GRACE_MS);
  }

  #ask(now: number, graceMs: number): Step {
    const trip = this.#trips.length > 0 ? Math.min(...this.#trips) : UNKNOWN_TRIP_MS;
    const deadline = now + graceMs + GRACE_TRIPS * trip;
    const before = this.#deadline ?? 0;
    this.#deadline = before > now ? Math.min(deadline, before) : deadline; // asking again does not put the end off
    this.#pingedAt = now;
    this.dueAt = this.#deadline;
    return "ping";
  }
}

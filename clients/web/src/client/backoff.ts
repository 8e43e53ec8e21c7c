/** How long to wait before the next attempt: full jitter, so that a thousand clients do not come back at once. */

export const LIMIT_MS = 10_000;
const FIRST_MS = 250;
const PATIENT = 4;

/** Delays of 0 to a bound that doubles with every attempt, from a quarter of a second to ten seconds. */
export class Backoff {
  /** How many attempts have failed since the last success. */
  attempts = 0;
  readonly #random: () => number;

  /** `random` gives numbers from 0 to below 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Return how many milliseconds to wait now. `isBusy`: too many are there already, so begin with seconds. */
  next(isBusy = false): number {
    const doublings = Math.max(this.attempts, isBusy ? PATIENT : 0);
    this.attempts += 1;
    return this.#random() * Math.min(LIMIT_MS, FIRST_MS * 2 ** doublings);
  }

  /** The connection has proved itself, or there is news of the network. */
  reset(): void {
    this.attempts = 0;
  }
}

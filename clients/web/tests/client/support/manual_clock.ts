import type { Clock } from "../../../src/client/index.ts";

interface Timer {
  at: number;
  callback: () => void;
}

/** Time that passes when told. */
export class ManualClock implements Clock {
  /** What `random` gives: by default the middle. */
  chance: () => number = () => 0.5;
  #now = 1_000;
  readonly #timers = new Set<Timer>();

  readonly now = (): number => this.#now;
  readonly random = (): number => this.chance();

  readonly setTimeout = (callback: () => void, ms: number): unknown => {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => {
    this.#timers.delete(timer as Timer);
  };

  get timers(): number {
    return this.#timers.size;
  }

  /** Let time pass; timers come when they are due. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let timer = this.#first(end); timer !== undefined; timer = this.#first(end)) {
      this.#now = Math.max(this.#now, timer.at);
      this.#timers.delete(timer);
      timer.callback();
    }
    this.#now = end;
  }

  /** Let time pass as in a page that is frozen or throttled: what was due comes late, at the end. */
  freeze(ms: number): void {
    this.#now += ms;
    this.advance(0);
  }

  #first(end: number): Timer | undefined {
    return [...this.#timers].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
  }
}

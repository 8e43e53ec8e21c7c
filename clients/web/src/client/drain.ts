/** Who waits until less input waits. */

interface Waiter {
  bytes: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class Drain {
  #waiters: Waiter[] = [];

  /** Resolve when less than `bytes` (at least one) are pending. */
  wait(bytes: number): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.push({ bytes: Math.max(1, bytes), resolve, reject }));
  }

  /** Note how much is pending. */
  pending(bytes: number): void {
    if (this.#waiters.length === 0) return;
    const done = this.#waiters.filter((waiter) => bytes < waiter.bytes);
    this.#waiters = this.#waiters.filter((waiter) => bytes >= waiter.bytes);
    for (const waiter of done) waiter.resolve();
  }

  /** Nothing will be sent any more. */
  fail(reason: string): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error(reason));
  }
}

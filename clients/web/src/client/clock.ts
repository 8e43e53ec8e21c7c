/** The real clock; tests bring their own. */

import type { Clock } from "./types.ts";

/** Monotonic milliseconds, and the timers of the page or of Node. */
export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** What tells of a network that is back, a page that wakes, and one that is about to sleep: of the browser alone. */

import type { WakeUps } from "./types.ts";

/**
 * Calls `wake` on `online`, on a return from the back/forward cache (`pageshow`), when the page becomes visible, and
 * when it is thawed (`resume`, of Chromium); `sleep` when it is left (`pagehide`). Does nothing where there is no page.
 *
 * `pagehide` is always taken for sleep: a page with an open WebSocket may not enter the cache, and in a page that
 * does not come back nobody is left to mind.
 */
export const pageWakeUps: WakeUps = (wake, sleep) => {
  const { window, document } = globalThis;
  if (window === undefined || document === undefined) return () => {};
  const stop = new AbortController();
  const { signal } = stop;
  window.addEventListener("online", wake, { signal });
  window.addEventListener("pageshow", (event) => event.persisted && wake(), { signal });
  window.addEventListener("pagehide", sleep, { signal });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  document.addEventListener("resume", wake, { signal });
  return () => stop.abort();
};

/** What the end of a connection means for the next one: the close codes of docs/protocol.md. */

/** `retry` not before `afterMs`; `isBusy`: and not soon. `idle`, `ended`, `refused`: see `State`. */
export type Verdict =
  | { next: "retry"; afterMs: number; isBusy: boolean }
  | { next: "idle" }
  | { next: "ended" }
  | { next: "refused" };

/** A connection that was lost, or given up, without a close frame. */
export const ABNORMAL = 1006;
const RESTART_LIMIT_MS = 60_000;

/**
 * Codes after which trying again would bring the same answer.
 *
 * 4409 is one of them: another tab with the same client id has taken over, and two that came back would replace each
 * other for ever. 1009 too: what was too big is sent again after a reconnect.
 */
const FINAL = new Set([1008, 1009, 4400, 4401, 4403, 4404, 4409]);

/** Return what follows from a close frame. */
export function judge(code: number, reason: string): Verdict {
  if (code === 1000 && reason === "detached") return { next: "idle" };
  if (code === 4410) return { next: "ended" };
  if (FINAL.has(code)) return { next: "refused" };
  return { next: "retry", afterMs: code === 1012 ? told(reason) : 0, isBusy: code === 4429 };
}

function told(reason: string): number {
  const found = /retry_after_ms=(\d+)/.exec(reason);
  return Math.min(RESTART_LIMIT_MS, Number(found?.[1] ?? 0));
}

// Which sessions a list shows, and in which order.
import { isLiving, programOf, type Session, titleOf } from "./session.ts";

export const ORDERS = {
  newest: "Newest first",
  oldest: "Oldest first",
  activity: "Last used first",
  name: "By name",
  ending: "Ending soonest first",
  viewers: "Most viewers first",
} as const;

export type Order = keyof typeof ORDERS;

const COMPARE: Record<Order, (a: Session, b: Session) => number> = {
  newest: (a, b) => b.created_at - a.created_at,
  oldest: (a, b) => a.created_at - b.created_at,
  activity: (a, b) => b.last_activity - a.last_activity,
  name: (a, b) => titleOf(a).localeCompare(titleOf(b), "en", { numeric: true, sensitivity: "base" }),
  ending: (a, b) => (a.expires_at ?? 0) - (b.expires_at ?? 0),
  viewers: (a, b) => b.viewers.length - a.viewers.length,
};

/** Return whether a text names an order. */
export function isOrder(text: string): text is Order {
  return Object.hasOwn(ORDERS, text);
}

/** Return the sessions that match all words of a filter, the living before those that have ended. */
export function arrange(sessions: readonly Session[], filter: string, order: Order): Session[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return sessions
    .filter((session) => {
      const text = words.length ? searchable(session) : "";
      return words.every((word) => text.includes(word));
    })
    .sort(
      (a, b) =>
        Number(isLiving(b)) - Number(isLiving(a)) ||
        COMPARE[order](a, b) ||
        b.created_at - a.created_at ||
        (a.session_id < b.session_id ? -1 : 1),
    );
}

function searchable(session: Session): string {
  return [
    session.name,
    programOf(session),
    session.session_id,
    session.state,
    session.user_id,
    session.backend,
    session.pid ?? "",
    session.last_line ?? "",
    session.end_reason ?? "",
    ...Object.entries(session.labels).map(([name, value]) => `${name}=${value}`),
  ]
    .join("\n")
    .toLowerCase();
}

/** Return the place in `now` for who was at `place` in `before`: where it went, or what has taken its place. */
export function placeAfter(before: readonly string[], now: readonly string[], id: string): string | null {
  if (now.includes(id)) return id;
  const place = before.indexOf(id);
  return place < 0 ? null : (now[Math.min(place, now.length - 1)] ?? null);
}

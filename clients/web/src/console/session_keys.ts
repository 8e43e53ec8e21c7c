// What keys mean in the list of sessions.
import type { SessionAction } from "./session_menu.ts";

/** The part of a KeyboardEvent that is needed. */
export interface Key {
  readonly key: string;
  readonly altKey: boolean;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly shiftKey: boolean;
}

const PLAIN: Readonly<Record<string, SessionAction | "menu">> = {
  Enter: "here",
  F2: "rename",
  Delete: "end",
  " ": "details",
  k: "keepalive",
  ".": "menu",
};
const PAGE = 10;

/** Return what a key on a row asks for; null: nothing. */
export function actionOf(key: Key): SessionAction | "menu" | null {
  if (key.altKey) return null;
  if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) return "tab";
  if (key.key === "F10" && key.shiftKey) return "menu";
  return key.ctrlKey || key.metaKey || key.shiftKey ? null : (PLAIN[key.key] ?? null);
}

/** Return the row, counted from 0, that a key leads to from row `at` of `count`; null: none. */
export function rowAfter(key: Key, at: number, count: number): number | null {
  if (key.altKey || key.ctrlKey || key.metaKey || count === 0) return null;
  const to = stepped(key.key, at, count);
  return to === null ? null : Math.max(0, Math.min(count - 1, to));
}

function stepped(key: string, at: number, count: number): number | null {
  switch (key) {
    case "ArrowDown":
      return at + 1;
    case "ArrowUp":
      return at - 1;
    case "PageDown":
      return at + PAGE;
    case "PageUp":
      return at - PAGE;
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return null;
  }
}

/** Return how many stops a key leads along a row. */
export function stepWithin(key: Key): -1 | 0 | 1 {
  if (key.altKey || key.ctrlKey || key.metaKey) return 0;
  return key.key === "ArrowRight" ? 1 : key.key === "ArrowLeft" ? -1 : 0;
}

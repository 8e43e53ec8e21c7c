// The panes of one tab as a tree of splits: pure values, nothing here touches the page.

/** Where the second half of a split lies. */
export type Direction = "right" | "down";
export type Side = "left" | "right" | "up" | "down";

/** A view of one session. `key` names the pane while the page lives; it is not in the address. */
export interface Pane {
  readonly kind: "pane";
  readonly key: string;
  readonly session: string;
  readonly readOnly: boolean;
  /** Skip ahead when far behind, and say so, instead of showing every byte. */
  readonly live: boolean;
}

/** Two halves; `share` is what the first one has of the whole, in percent. */
export interface Split {
  readonly kind: "split";
  readonly direction: Direction;
  readonly share: number;
  readonly first: Layout;
  readonly second: Layout;
}

export type Layout = Pane | Split;

/** A rectangle in fractions of the whole, 0..1. */
export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The line between the halves of the split at `path` (a string of 1 and 2 from the root), and the room it divides. */
export interface Divider {
  readonly path: string;
  readonly direction: Direction;
  readonly share: number;
  readonly area: Rect;
  /** The panes before and behind it, for what a screen reader says. */
  readonly before: string;
}

/** No half is smaller than this, in percent. */
export const SMALLEST_SHARE = 10;
/** What one tab may hold: beyond that nobody can read anything. */
export const PANES_LIMIT = 24;

const WHOLE: Rect = { x: 0, y: 0, width: 1, height: 1 };

/** Return the panes, left before right, upper before lower. */
export function panesOf(layout: Layout): Pane[] {
  return layout.kind === "pane" ? [layout] : [...panesOf(layout.first), ...panesOf(layout.second)];
}

export function paneOf(layout: Layout, key: string): Pane | undefined {
  return panesOf(layout).find((pane) => pane.key === key);
}

/** Return where each pane lies, by key. */
export function rectsOf(layout: Layout, area: Rect = WHOLE): Map<string, Rect> {
  if (layout.kind === "pane") return new Map([[layout.key, area]]);
  const [first, second] = halves(layout, area);
  return new Map([...rectsOf(layout.first, first), ...rectsOf(layout.second, second)]);
}

export function dividersOf(layout: Layout, area: Rect = WHOLE, path = ""): Divider[] {
  if (layout.kind === "pane") return [];
  const [first, second] = halves(layout, area);
  const before = panesOf(layout.first).at(-1)?.key ?? "";
  return [
    { path, direction: layout.direction, share: layout.share, area, before },
    ...dividersOf(layout.first, first, `${path}1`),
    ...dividersOf(layout.second, second, `${path}2`),
  ];
}

/** Halve the pane `key`: it keeps the first half, `added` gets the second. */
export function split(layout: Layout, key: string, direction: Direction, added: Pane): Layout {
  return replace(layout, key, (pane) => ({ kind: "split", direction, share: 50, first: pane, second: added }));
}

/** Return what is left without the pane `key`; null if that is nothing. */
export function remove(layout: Layout, key: string): Layout | null {
  if (layout.kind === "pane") return layout.key === key ? null : layout;
  const first = remove(layout.first, key);
  const second = remove(layout.second, key);
  if (first === null || second === null) return first ?? second;
  return first === layout.first && second === layout.second ? layout : { ...layout, first, second };
}

/** Put something else in the place of the pane `key`. */
export function replace(layout: Layout, key: string, change: (pane: Pane) => Layout): Layout {
  if (layout.kind === "pane") return layout.key === key ? change(layout) : layout;
  const first = replace(layout.first, key, change);
  const second = replace(layout.second, key, change);
  return first === layout.first && second === layout.second ? layout : { ...layout, first, second };
}

/** Give the first half of the split at `path` `share` percent; out of bounds it stops at the bound. */
export function resize(layout: Layout, path: string, share: number): Layout {
  if (layout.kind === "pane") return layout;
  if (path === "") return { ...layout, share: boundedShare(share) };
  const rest = path.slice(1);
  return path.startsWith("1")
    ? { ...layout, first: resize(layout.first, rest, share) }
    : { ...layout, second: resize(layout.second, rest, share) };
}

export function boundedShare(share: number): number {
  if (!Number.isFinite(share)) return 50;
  return Math.min(100 - SMALLEST_SHARE, Math.max(SMALLEST_SHARE, Math.round(share * 10) / 10));
}

/** Return the pane one meets first when going from `key` to a side: the one that shares most of that edge. */
export function neighbour(layout: Layout, key: string, side: Side): string | null {
  const rects = rectsOf(layout);
  const from = rects.get(key);
  if (!from) return null;
  let best: { key: string; shared: number } | null = null;
  for (const [other, rect] of rects) {
    if (!touches(from, rect, side)) continue;
    const shared = sharedEdge(from, rect, side);
    if (shared > 0.0001 && shared > (best?.shared ?? 0) + 0.0001) best = { key: other, shared };
  }
  return best?.key ?? null;
}

function halves({ direction, share }: Split, area: Rect): [Rect, Rect] {
  const part = share / 100;
  if (direction === "right") {
    const width = area.width * part;
    return [
      { ...area, width },
      { ...area, x: area.x + width, width: area.width - width },
    ];
  }
  const height = area.height * part;
  return [
    { ...area, height },
    { ...area, y: area.y + height, height: area.height - height },
  ];
}

function touches(from: Rect, to: Rect, side: Side): boolean {
  const distance = {
    left: from.x - (to.x + to.width),
    right: to.x - (from.x + from.width),
    up: from.y - (to.y + to.height),
    down: to.y - (from.y + from.height),
  }[side];
  return Math.abs(distance) < 0.0001;
}

function sharedEdge(from: Rect, to: Rect, side: Side): number {
  const upright = side === "left" || side === "right";
  const [a, aLength, b, bLength] = upright
    ? [from.y, from.height, to.y, to.height]
    : [from.x, from.width, to.x, to.width];
  return Math.min(a + aLength, b + bLength) - Math.max(a, b);
}

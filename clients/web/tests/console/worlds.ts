// Random workspaces from a seed, so that a failure can be had again.
import type { Layout, Pane, Side } from "../../src/console/layout.ts";
import { panesOf } from "../../src/console/layout.ts";
import { type Tab, VIEWS, type Workspace } from "../../src/console/workspace.ts";

export const SIDES: readonly Side[] = ["left", "right", "up", "down"];

/** Return numbers in 0..1 that are the same for the same seed (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<Item>(random: () => number, items: readonly Item[]): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

export function pane(key: string, session = key, flags: Partial<Pane> = {}): Pane {
  return { kind: "pane", key, session, readOnly: false, live: false, ...flags };
}

/** Return a workspace whose keys are "0", "1", … in order, as those of a decoded one are. */
export function randomWorkspace(random: () => number): Workspace {
  let key = 0;
  const leaf = (): Pane =>
    pane(String(key++), `s-${Math.floor(random() * 1e6).toString(36)}.x_~`, {
      readOnly: random() < 0.3,
      live: random() < 0.3,
    });
  const tree = (depth: number): Layout => {
    if (depth === 0 || random() < 0.4) return leaf();
    const share = random() < 0.3 ? 50 : Math.round(100 + random() * 800) / 10;
    const direction = random() < 0.5 ? "right" : "down";
    return { kind: "split", direction, share, first: tree(depth - 1), second: tree(depth - 1) };
  };
  const tabs: Tab[] = Array.from({ length: Math.floor(random() * 5) }, () => {
    const root = tree(3);
    return { root, focus: pick(random, panesOf(root)).key };
  });
  return { view: pick(random, VIEWS), tabs, active: Math.floor(random() * Math.max(1, tabs.length)) };
}

import { describe, expect, test } from "vitest";
import {
  boundedShare,
  dividersOf,
  neighbour,
  panesOf,
  rectsOf,
  remove,
  resize,
  type Side,
  split,
} from "../../src/console/layout.ts";
import { chance, pane, pick, randomWorkspace, SIDES } from "./worlds.ts";

const OPPOSITE: Record<Side, Side> = { left: "right", right: "left", up: "down", down: "up" };

function layouts() {
  return Array.from({ length: 300 }, (_, seed) => randomWorkspace(chance(seed)).tabs.map(({ root }) => root)).flat();
}

describe("a layout", () => {
  test("covers the whole and nothing twice", () => {
    for (const layout of layouts()) {
      const rects = [...rectsOf(layout).values()];
      const area = rects.reduce((sum, { width, height }) => sum + width * height, 0);
      expect(area).toBeCloseTo(1, 9);
      for (const { x, y, width, height } of rects) {
        expect(Math.min(x, y, width, height)).toBeGreaterThanOrEqual(0);
        expect(Math.max(x + width, y + height)).toBeLessThanOrEqual(1 + 1e-9);
      }
    }
  });

  test("has one divider less than panes, each of which moves its own split only", () => {
    for (const layout of layouts()) {
      const dividers = dividersOf(layout);
      expect(dividers).toHaveLength(panesOf(layout).length - 1);
      for (const { path } of dividers) {
        const moved = dividersOf(resize(layout, path, 23));
        expect(moved.filter((each, index) => each.share !== dividers[index]?.share).length).toBeLessThanOrEqual(1);
        expect(moved.find((each) => each.path === path)?.share).toBe(23);
      }
    }
  });

  test("is as before when what was split off is removed", () => {
    for (const layout of layouts()) {
      for (const { key } of panesOf(layout)) {
        expect(remove(split(layout, key, "down", pane("new")), "new")).toEqual(layout);
      }
    }
  });

  test("loses a pane and keeps the order of the others; the last one leaves nothing", () => {
    for (const layout of layouts()) {
      const keys = panesOf(layout).map(({ key }) => key);
      for (const key of keys) {
        const rest = remove(layout, key);
        expect(rest ? panesOf(rest).map((each) => each.key) : []).toEqual(keys.filter((each) => each !== key));
      }
    }
  });

  test("has a way to every pane with the arrow keys", () => {
    for (const layout of layouts()) {
      const keys = panesOf(layout).map(({ key }) => key);
      const seen = new Set(keys.slice(0, 1));
      for (const key of seen) {
        for (const side of SIDES) {
          const next = neighbour(layout, key, side);
          if (next) seen.add(next);
        }
      }
      expect(seen.size).toBe(keys.length);
    }
  });

  test("has a neighbour on the far side of each neighbour", () => {
    const random = chance(7);
    for (const layout of layouts()) {
      const side = pick(random, SIDES);
      const next = neighbour(layout, pick(random, panesOf(layout)).key, side);
      if (next) expect(neighbour(layout, next, OPPOSITE[side])).not.toBeNull();
    }
  });

  test("keeps shares within bounds, whatever it is told", () => {
    for (const share of [-1, 0, 5, 95, 1e9, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(boundedShare(share)).toBeGreaterThanOrEqual(10);
      expect(boundedShare(share)).toBeLessThanOrEqual(90);
    }
  });
});

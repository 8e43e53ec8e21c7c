import { describe, expect, test } from "vitest";
import { PANES_LIMIT, panesOf } from "../../src/console/layout.ts";
import { decode, encode } from "../../src/console/route.ts";
import {
  activeTab,
  addTab,
  adoptKeys,
  allPanes,
  closePane,
  EMPTY,
  focusedPane,
  focusPane,
  paneShowing,
  splitPane,
  TABS_LIMIT,
  type Workspace,
} from "../../src/console/workspace.ts";
import { chance, pane, pick, randomWorkspace } from "./worlds.ts";

function spaces(): Workspace[] {
  return Array.from({ length: 300 }, (_, seed) => randomWorkspace(chance(seed)));
}

function isSound(space: Workspace): void {
  expect(space.active).toBeGreaterThanOrEqual(0);
  expect(space.active).toBeLessThan(Math.max(1, space.tabs.length));
  for (const tab of space.tabs) expect(panesOf(tab.root).map(({ key }) => key)).toContain(tab.focus);
}

describe("a workspace", () => {
  test("stays sound whatever is opened, split, focused and closed", () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = chance(seed);
      let space: Workspace = EMPTY;
      for (let step = 0; step < 60; step++) {
        const panes = allPanes(space);
        const key = panes.length > 0 ? pick(random, panes).key : "";
        const added = pane(`k${step}`);
        space = pick(random, [
          () => addTab(space, added),
          () => splitPane(space, key, pick(random, ["right", "down"] as const), added),
          () => closePane(space, key),
          () => focusPane(space, key),
        ])();
        isSound(space);
        expect(decode(encode(space)).tabs).toHaveLength(space.tabs.length);
      }
    }
  });

  test("shows what was opened last", () => {
    for (const space of spaces()) {
      expect(focusedPane(addTab(space, pane("new")))?.key).toBe("new");
      const current = focusedPane(space);
      if (current) expect(focusedPane(splitPane(space, current.key, "right", pane("new")))?.key).toBe("new");
    }
  });

  test("gives the keyboard to a pane of the same tab when one is closed", () => {
    for (const space of spaces()) {
      const tab = activeTab(space);
      if (!tab || panesOf(tab.root).length < 2) continue;
      const after = activeTab(closePane(space, tab.focus));
      expect(panesOf(tab.root).map(({ key }) => key)).toContain(after?.focus);
    }
  });

  test("finds a session that is open, first in the active tab", () => {
    const twice = addTab(addTab(EMPTY, pane("1", "s")), pane("2", "s"));
    expect(paneShowing(twice, "s")?.key).toBe("2");
    expect(paneShowing(focusPane(twice, "1"), "s")?.key).toBe("1");
    expect(paneShowing(twice, "other")).toBeUndefined();
  });

  test("takes no more than the address can hold", () => {
    let space = addTab(EMPTY, pane("first"));
    for (let n = 0; n < PANES_LIMIT + 5; n++) space = splitPane(space, "first", "down", pane(`p${n}`));
    expect(allPanes(space)).toHaveLength(PANES_LIMIT);
    for (let n = 0; n < TABS_LIMIT + 5; n++) space = addTab(space, pane(`t${n}`));
    expect(space.tabs).toHaveLength(TABS_LIMIT);
    expect(allPanes(decode(encode(space)))).toHaveLength(allPanes(space).length);
  });
});

describe("an address that is gone back to", () => {
  test("keeps every pane that is in both", () => {
    for (let seed = 0; seed < 200; seed++) {
      let count = 1000;
      const newKey = () => String(count++);
      const before = adoptKeys(EMPTY, randomWorkspace(chance(seed)), newKey);
      const current = focusedPane(before);
      if (!current) continue;
      const after = splitPane(before, current.key, "right", pane("new", "another"));
      const back = adoptKeys(after, decode(encode(before)), newKey);
      expect(allPanes(back)).toEqual(allPanes(before));
      expect(back.tabs.map(({ focus }) => focus)).toEqual(before.tabs.map(({ focus }) => focus));
    }
  });

  test("never gives one key to two panes", () => {
    let count = 1000;
    const newKey = () => String(count++);
    for (let seed = 0; seed < 200; seed++) {
      const now = adoptKeys(EMPTY, randomWorkspace(chance(seed)), newKey);
      const keys = allPanes(adoptKeys(now, randomWorkspace(chance(seed >> 1)), newKey)).map(({ key }) => key);
      expect(new Set(keys).size).toBe(keys.length);
    }
  });
});

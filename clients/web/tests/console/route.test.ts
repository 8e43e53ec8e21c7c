import { describe, expect, test } from "vitest";
import { PANES_LIMIT, panesOf } from "../../src/console/layout.ts";
import { decode, encode } from "../../src/console/route.ts";
import { EMPTY, TABS_LIMIT } from "../../src/console/workspace.ts";
import { chance, pane, pick, randomWorkspace } from "./worlds.ts";

const ALPHABET = [..."abc019-._~", ..."()()()", ..."+:,!*/#%", "!view", "!live", "terminals", "☃", " ", "%28", "%"];

describe("the address", () => {
  test("brings back what it was made from", () => {
    for (let seed = 0; seed < 500; seed++) {
      const space = randomWorkspace(chance(seed));
      expect(decode(encode(space)), `seed ${seed}: ${encode(space)}`).toEqual(space);
    }
  });

  test("survives programs that escape all they can", () => {
    for (let seed = 0; seed < 100; seed++) {
      const space = randomWorkspace(chance(seed));
      const escaped = encode(space).replace(/[(),:+!*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
      expect(decode(escaped)).toEqual(space);
    }
  });

  test("of junk is read without an error, within its limits, and to something that has an address of its own", () => {
    for (let seed = 0; seed < 2000; seed++) {
      const random = chance(seed);
      const length = Math.floor(random() * 60);
      const junk = `#/terminals/${Array.from({ length }, () => pick(random, ALPHABET)).join("")}`;
      const space = decode(junk);
      expect(space.tabs.length).toBeLessThanOrEqual(TABS_LIMIT);
      expect(decode(encode(space)), junk).toEqual(space);
      for (const tab of space.tabs) expect(panesOf(tab.root).map(({ key }) => key)).toContain(tab.focus);
    }
  });

  test("of half an address shows the half that is there", () => {
    const sessions = (hash: string) => decode(hash).tabs.map(({ root }) => panesOf(root).map(({ session }) => session));
    expect(sessions("#/terminals/a,(b+(c:d")).toEqual([["a"], ["b", "c", "d"]]);
    expect(sessions("#/terminals/2/(b+)")).toEqual([["b"]]);
    expect(sessions("#/terminals/((a)+b)")).toEqual([["a", "b"]]);
    expect(sessions("#/terminals/,,a,<script>,b")).toEqual([["a"], ["b"]]);
  });

  test("names no step in a path as a session", () => {
    const found = decode("#/terminals/.,..,%2e%2e,a..b,...").tabs.flatMap(({ root }) => panesOf(root));
    expect(found.map(({ session }) => session)).toEqual(["a..b", "..."]);
  });

  test("of nothing, or of a view nobody knows, is the terminals", () => {
    for (const hash of ["", "#", "#/", "#nonsense", "#/nonsense"]) expect(decode(hash)).toEqual(EMPTY);
    expect(decode("#/metrics").view).toBe("metrics");
  });

  test("of endless brackets and endless tabs ends", () => {
    expect(decode(`#/terminals/${"(".repeat(100_000)}`).tabs).toEqual([]);
    expect(
      decode(`#/terminals/${"(a+".repeat(5000)}`).tabs.flatMap(({ root }) => panesOf(root)).length,
    ).toBeLessThanOrEqual(PANES_LIMIT);
    expect(decode(`#/terminals/${"a,".repeat(5000)}`).tabs).toHaveLength(TABS_LIMIT);
    expect(decode("#/terminals/99/a,b").active).toBe(1);
    expect(decode("#/terminals/-3/a,b").active).toBe(0);
    expect(decode("#/terminals/1e999/a,b").active).toBe(0);
  });

  test("can be read by people", () => {
    const root = {
      kind: "split",
      direction: "right",
      share: 30,
      first: pane("0", "a"),
      second: {
        kind: "split",
        direction: "down",
        share: 50,
        first: pane("1", "b", { readOnly: true }),
        second: pane("2", "c"),
      },
    } as const;
    const space = {
      view: "terminals",
      active: 1,
      tabs: [
        { root: pane("9", "x"), focus: "9" },
        { root, focus: "2" },
      ],
    } as const;
    expect(encode(space)).toBe("#/terminals/2/x,(a+(b!view:c*))30");
    expect(encode(EMPTY)).toBe("#/terminals");
  });
});

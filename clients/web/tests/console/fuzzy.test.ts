import { describe, expect, test } from "vitest";
import { match, search } from "../../src/console/fuzzy.ts";
import { chance } from "./worlds.ts";

const TEXTS = ["New terminal", "Split right", "Split down", "Close this pane", "Switch theme", "Next tab", "Next pane"];

function best(query: string): string | undefined {
  return search(query, TEXTS, (text) => text)[0]?.item;
}

describe("what is typed", () => {
  test("finds by beginnings of words", () => {
    expect(best("nt")).toBe("New terminal");
    expect(best("sd")).toBe("Split down");
    expect(best("pane cl")).toBe("Close this pane");
    expect(best("THEME")).toBe("Switch theme");
  });

  test("finds what was typed before what could be meant by it", () => {
    const sessions = ["many 78 7f5278e5", "many 7 7a8274a8", "many 77 6299adb5"];
    expect(search("many 77", sessions, (text) => text)[0]?.item).toBe("many 77 6299adb5");
    expect(search("77", sessions, (text) => text)[0]?.item).toBe("many 77 6299adb5");
  });

  test("finds everything, in the given order, when it is nothing", () => {
    expect(search("  ", TEXTS, (text) => text).map(({ item }) => item)).toEqual(TEXTS);
  });

  test("finds nothing that lacks one of its letters", () => {
    expect(match("xyz", "Split right")).toBeNull();
    expect(match("split zebra", "Split right")).toBeNull();
  });

  test("marks the letters it means", () => {
    expect(match("sr", "Split right")?.at).toEqual([0, 6]);
    expect(match("right split", "Split right")?.at).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
  });

  test("fits a text it was taken from, whatever was left out", () => {
    for (let seed = 0; seed < 500; seed++) {
      const random = chance(seed);
      const text = Array.from({ length: 20 }, () => "abcDE fG-1"[Math.floor(random() * 10)]).join("");
      const kept = [...text].filter((letter) => letter !== " " && random() < 0.4).join("");
      const found = match(kept, text);
      expect(found, `${kept} in ${text}`).not.toBeNull();
      expect(
        found?.at
          .map((index) => text[index])
          .join("")
          .toLowerCase(),
      ).toBe(kept.toLowerCase());
    }
  });

  test("is not slow however long both are", () => {
    const begun = performance.now();
    match("a".repeat(1000), "ab".repeat(2000));
    expect(performance.now() - begun).toBeLessThan(1000);
  });
});

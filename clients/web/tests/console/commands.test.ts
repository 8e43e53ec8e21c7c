// @vitest-environment happy-dom
import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS, commandFor, commandNamed, hintFor } from "../../src/console/commands.ts";

/** What browsers do not give away, or what people would miss there (Chromium, Firefox, Safari; Linux, Windows). */
const BROWSERS = [
  "A",
  "B",
  "C",
  "D",
  "E",
  "G",
  "H",
  "I",
  "J",
  "K",
  "M",
  "N",
  "O",
  "Q",
  "R",
  "S",
  "T",
  "V",
  "W",
  "Y",
  "Z",
];
const THE_BROWSERS = new Set([
  ...BROWSERS.map((letter) => `Ctrl+Shift+${letter}`),
  ...[
    "Ctrl+Shift+Delete",
    "Ctrl+Shift+Tab",
    "Ctrl+Tab",
    "Ctrl+Shift+PageUp",
    "Ctrl+Shift+PageDown",
    "F5",
    "F11",
    "F12",
  ],
]);
/** The element's own. */
const THE_ELEMENTS = new Set([
  "Ctrl+Shift+C",
  "Ctrl+Shift+V",
  "Ctrl+Shift+F",
  "Ctrl+F6",
  "Shift+PageUp",
  "Shift+PageDown",
]);

describe("the commands", () => {
  test("have names of their own", () => {
    const names = COMMANDS.map(({ id }) => id);
    expect(new Set(names).size).toBe(names.length);
    expect(() => commandNamed("no such thing")).toThrow("no such thing");
  });

  test("have chords of their own, which are neither a browser's nor the terminal's", () => {
    const chords = COMMANDS.flatMap(({ chords = [], outside = [] }) => [...chords, ...outside]);
    expect(new Set(chords).size).toBe(chords.length);
    for (const chord of chords) {
      expect(THE_BROWSERS.has(chord), chord).toBe(false);
      expect(THE_ELEMENTS.has(chord), chord).toBe(false);
    }
  });

  test("leave every key that a program can tell apart to the terminal", () => {
    for (const chord of COMMANDS.flatMap(({ chords = [] }) => chords)) {
      expect(chord, chord).toMatch(/^Ctrl\+(?:Alt\+|Shift\+)+|^Ctrl\+F1$/);
    }
    expect(commandFor("F1", false)).toBeUndefined();
    expect(commandFor("Shift+?", false)).toBeUndefined();
    expect(commandFor("F1", true)?.id).toBe("palette");
  });

  test("are told in words on buttons", () => {
    expect(hintFor("new")).toBe("Ctrl+Shift+Enter");
    expect(hintFor("rename")).toBe("");
  });
});

test("the document of the console names every chord", async () => {
  const text = await readFile(path.resolve(import.meta.dirname, "../../../../docs/console.md"), "utf8");
  for (const { id, chords = [], outside = [] } of COMMANDS) {
    for (const chord of [...chords, ...outside]) {
      const arrow = /Arrow\w+$/.exec(chord)?.[0];
      const isNamed = text.includes(arrow ?? chord) || /^Ctrl\+Shift\+[2-8]$/.test(chord);
      expect(isNamed, `${id}: ${chord}`).toBe(true);
    }
  }
});

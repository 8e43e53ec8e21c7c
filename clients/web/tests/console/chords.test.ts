import { describe, expect, test } from "vitest";
import { ariaChord, capsOf, chordOf, type KeyLike, spoken } from "../../src/console/chords.ts";

function press(key: string, code: string, modifiers = "", altGraph = false): string | null {
  const event: KeyLike = {
    key,
    code,
    ctrlKey: modifiers.includes("c"),
    altKey: modifiers.includes("a"),
    shiftKey: modifiers.includes("s"),
    metaKey: modifiers.includes("m"),
    getModifierState: (name) => altGraph && name === "AltGraph",
  };
  return chordOf(event);
}

describe("a chord", () => {
  test("is read with its modifiers in one order", () => {
    expect(press("P", "KeyP", "cs")).toBe("Ctrl+Shift+P");
    expect(press("Enter", "Enter", "cas")).toBe("Ctrl+Alt+Shift+Enter");
    expect(press("Enter", "NumpadEnter", "cs")).toBe("Ctrl+Shift+Enter");
    expect(press("F1", "F1")).toBe("F1");
  });

  test("goes by the letter of the layout, and by the place where letters are others", () => {
    expect(press("P", "KeyR", "cs")).toBe("Ctrl+Shift+P"); // Dvorak
    expect(press("З", "KeyP", "cs")).toBe("Ctrl+Shift+P"); // Russian
    expect(press('"', "Digit2", "cs")).toBe("Ctrl+Shift+2");
    expect(press("<", "Comma", "cs")).toBe("Ctrl+Shift+Comma");
  });

  test("is not what types a character, nor what belongs to the system", () => {
    expect(press("@", "KeyQ", "ca", true)).toBeNull();
    expect(press("Dead", "Quote", "cs")).toBeNull();
    expect(press("p", "KeyP", "csm")).toBeNull();
    expect(press("Shift", "ShiftLeft", "s")).toBeNull();
  });

  test("is drawn, spoken and told to assistive technology", () => {
    expect(capsOf("Ctrl+Shift+ArrowLeft")).toEqual(["Ctrl", "Shift", "←"]);
    expect(capsOf("Ctrl+Shift+P", true)).toEqual(["⌃", "⇧", "P"]);
    expect(spoken("Ctrl+Shift+Backspace")).toBe("Ctrl+Shift+Backspace");
    expect(ariaChord("Ctrl+Shift+P")).toBe("Control+Shift+P");
  });
});

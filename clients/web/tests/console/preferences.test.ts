import { describe, expect, test } from "vitest";
import { Preferences } from "../../src/console/preferences.ts";

class Memory {
  text: string | null = null;
  getItem(): string | null {
    return this.text;
  }
  setItem(_key: string, text: string): void {
    this.text = text;
  }
}

describe("preferences", () => {
  test("are remembered by the next page", () => {
    const storage = new Memory();
    const page = new Preferences(storage);
    page.theme = "light";
    page.fontSize = 18;
    page.sidebar = false;
    const next = new Preferences(storage);
    expect([next.theme, next.fontSize, next.sidebar]).toEqual(["light", 18, false]);
  });

  test.each(["", "null", "{", "[]", '{"theme":"pink","fontSize":"big","sidebar":3}', '{"fontSize":1e999}'])(
    "are the usual ones where %s was kept",
    (text) => {
      const { theme, fontSize, sidebar } = new Preferences({ getItem: () => text, setItem: () => {} });
      expect([theme, fontSize, sidebar]).toEqual(["auto", 14, true]);
    },
  );

  test("hold for the page where nothing can be kept", () => {
    const forbidden = () => {
      throw new DOMException("no", "SecurityError");
    };
    for (const storage of [null, { getItem: forbidden, setItem: forbidden }]) {
      const page = new Preferences(storage);
      page.theme = "dark";
      page.fontSize = 1000;
      expect([page.theme, page.fontSize]).toEqual(["dark", 32]);
    }
  });
});

// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Act } from "../../src/console/act.ts";
import "../../src/console/notices.ts";
import type { ConsoleNotices } from "../../src/console/notices.ts";
import "../../src/console/palette.ts";
import type { Choice, CommandPalette } from "../../src/console/palette.ts";
import "../../src/console/tabs.ts";
import type { ConsoleTabs, TabLabel } from "../../src/console/tabs.ts";

const acts: Act[] = [];
const hear = (event: Event) => acts.push((event as CustomEvent<Act>).detail);

beforeEach(() => {
  acts.length = 0;
  document.body.addEventListener("act", hear);
});
afterEach(() => {
  document.body.removeEventListener("act", hear);
  document.body.replaceChildren();
  vi.useRealTimers();
});

function press(element: Element | null, key: string): void {
  element?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true, cancelable: true }));
}

describe("the palette", () => {
  const choices: Choice[] = ["New session", "Split right", "Split down", "Next tab"].map((title, index) => ({
    title,
    group: index < 3 ? "Terminals" : "Go to",
    sign: "terminal",
    command: title,
  }));

  async function opened(): Promise<{ palette: CommandPalette; input: HTMLInputElement; shown: () => string[] }> {
    const palette = document.createElement("command-palette") as CommandPalette;
    document.body.append(palette);
    await palette.updateComplete;
    palette.open(choices);
    await palette.updateComplete;
    const input = palette.renderRoot.querySelector("input") as HTMLInputElement;
    const shown = () =>
      [...palette.renderRoot.querySelectorAll(".words")].map((each) => each.textContent?.trim() ?? "");
    return { palette, input, shown };
  }

  test("shows all, finds by letters, and does what is chosen", async () => {
    const { palette, input, shown } = await opened();
    expect(shown()).toEqual(["New session", "Split right", "Split down", "Next tab"]);
    input.value = "split";
    input.dispatchEvent(new InputEvent("input"));
    await palette.updateComplete;
    expect(shown()).toEqual(["Split right", "Split down"]);
    press(input, "ArrowDown");
    press(input, "Enter");
    expect(acts).toEqual([{ command: "Split down" }]);
    expect(palette.isOpen).toBe(false);
  });

  test("goes round, and names to assistive technology what is chosen", async () => {
    const { palette, input } = await opened();
    press(input, "ArrowUp");
    await palette.updateComplete;
    const id = input.getAttribute("aria-activedescendant");
    expect(palette.renderRoot.querySelector(`#${id}`)?.getAttribute("aria-selected")).toBe("true");
    press(input, "Enter");
    expect(acts).toEqual([{ command: "Next tab" }]);
  });

  test("says so where nothing fits, and does nothing", async () => {
    const { palette, input, shown } = await opened();
    input.value = "xyzzy";
    input.dispatchEvent(new InputEvent("input"));
    await palette.updateComplete;
    press(input, "Enter");
    expect([shown(), acts]).toEqual([[], []]);
    expect(palette.renderRoot.querySelector(".none")).not.toBeNull();
  });
});

describe("the tabs", () => {
  async function strip(count: number, active: number): Promise<HTMLElement[]> {
    const tabs = document.createElement("console-tabs") as ConsoleTabs;
    const label: Omit<TabLabel, "key" | "name"> = {
      title: "",
      panes: 1,
      tone: "good",
      state: "connected",
      rang: false,
    };
    tabs.tabs = Array.from({ length: count }, (_, index) => ({ ...label, key: `k${index}`, name: `Tab ${index}` }));
    tabs.active = active;
    document.body.append(tabs);
    await tabs.updateComplete;
    return [...tabs.renderRoot.querySelectorAll<HTMLElement>("[role=tab]")];
  }

  test("have one stop for the Tab key", async () => {
    const tabs = await strip(3, 1);
    expect(tabs.map(({ tabIndex }) => tabIndex)).toEqual([-1, 0, -1]);
    expect(tabs.map((tab) => tab.getAttribute("aria-selected"))).toEqual(["false", "true", "false"]);
  });

  test("are shown by a click, closed by their cross, and by the middle button", async () => {
    const tabs = await strip(3, 0);
    tabs[2]?.click();
    tabs[1]
      ?.querySelector<HTMLElement>(".close")
      ?.dispatchEvent(new MouseEvent("click", { bubbles: true, composed: true }));
    tabs[2]?.dispatchEvent(new MouseEvent("auxclick", { button: 1, bubbles: true, composed: true }));
    expect(acts).toEqual([
      { command: "show-tab", tab: 2 },
      { command: "close-tab", tab: 1 },
      { command: "close-tab", tab: 2 },
    ]);
  });
});

describe("notices", () => {
  async function board(): Promise<{ notices: ConsoleNotices; texts: () => Promise<string[]> }> {
    const notices = document.createElement("console-notices") as ConsoleNotices;
    document.body.append(notices);
    await notices.updateComplete;
    const texts = async () => {
      await notices.updateComplete;
      return [...notices.renderRoot.querySelectorAll(".text")].map((each) => each.textContent ?? "");
    };
    return { notices, texts };
  }

  test("go by themselves, except for bad news", async () => {
    vi.useFakeTimers();
    const { notices, texts } = await board();
    notices.show({ text: "done" });
    notices.show({ text: "broken", bad: true });
    expect(await texts()).toEqual(["broken", "done"]);
    vi.advanceTimersByTime(60_000);
    expect(await texts()).toEqual(["broken"]);
  });

  test("are few, and none is there twice", async () => {
    const { notices, texts } = await board();
    for (let n = 0; n < 50; n++) notices.show({ text: `${n % 10}`, bad: true });
    expect(await texts()).toEqual(["6", "7", "8", "9"]);
  });

  test("are said again when they come again", async () => {
    const { notices } = await board();
    const voice = async () => {
      await notices.updateComplete;
      return notices.renderRoot.querySelector(".voice")?.textContent;
    };
    notices.say("connected");
    const first = await voice();
    notices.say("connected");
    expect(await voice()).not.toBe(first);
  });
});

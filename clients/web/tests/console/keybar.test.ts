// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import "../../src/console/keybar.ts";
import type { KeyBar, Modifiers } from "../../src/console/keybar.ts";

/** A terminal that notes what it is told. */
class Terminal {
  stickyModifiers: Modifiers = { ctrl: false, alt: false };
  readonly keys: string[] = [];
  key(name: string, { ctrl, alt }: Partial<Modifiers>): void {
    this.keys.push(`${ctrl ? "ctrl " : ""}${alt ? "alt " : ""}${name}`);
  }
}

let bar: KeyBar;
let terminal: Terminal;

beforeEach(async () => {
  vi.useFakeTimers();
  terminal = new Terminal();
  bar = document.createElement("key-bar") as KeyBar;
  bar.terminal = terminal;
  document.body.append(bar);
  await bar.updateComplete;
});
afterEach(() => {
  bar.remove();
  vi.useRealTimers();
});

function button(cap: string): HTMLElement {
  const buttons = [...bar.renderRoot.querySelectorAll("button")];
  const found = buttons.find((each) => (each.textContent?.trim() || each.getAttribute("aria-label")) === cap);
  if (!found) throw new Error(`no key ${cap}`);
  return found;
}

async function tap(cap: string): Promise<void> {
  button(cap).click();
  await bar.updateComplete;
}

describe("the key bar", () => {
  test("sends keys", async () => {
    for (const cap of ["Esc", "Tab", "←", "↑"]) await tap(cap);
    expect(terminal.keys).toEqual(["Escape", "Tab", "ArrowLeft", "ArrowUp"]);
  });

  test("holds Ctrl for one key of its own", async () => {
    await tap("Ctrl");
    expect(button("Ctrl").getAttribute("aria-pressed")).toBe("true");
    await tap("←");
    await tap("←");
    expect(terminal.keys).toEqual(["ctrl ArrowLeft", "ArrowLeft"]);
    expect(terminal.stickyModifiers).toEqual({ ctrl: false, alt: false });
  });

  test("holds Ctrl for one key of any other keyboard", async () => {
    await tap("Ctrl");
    expect(terminal.stickyModifiers).toEqual({ ctrl: true, alt: false });
    bar.taken();
    await bar.updateComplete;
    expect(button("Ctrl").getAttribute("aria-pressed")).toBe("false");
    expect(terminal.stickyModifiers).toEqual({ ctrl: false, alt: false });
  });

  test("keeps what was tapped twice until it is tapped again", async () => {
    await tap("Alt");
    await tap("Alt");
    for (let n = 0; n < 3; n++) await tap("→");
    bar.taken();
    await bar.updateComplete;
    expect(terminal.keys).toEqual(["alt ArrowRight", "alt ArrowRight", "alt ArrowRight"]);
    expect(terminal.stickyModifiers.alt).toBe(true);
    await tap("Alt");
    expect(terminal.stickyModifiers.alt).toBe(false);
  });

  test("lets go of what was tapped again after a while", async () => {
    await tap("Ctrl");
    vi.advanceTimersByTime(1000);
    await tap("Ctrl");
    expect(terminal.stickyModifiers.ctrl).toBe(false);
  });

  test("holds both at once", async () => {
    await tap("Ctrl");
    await tap("Alt");
    await tap("↓");
    expect(terminal.keys).toEqual(["ctrl alt ArrowDown"]);
  });

  test("repeats a key that is held, and stops with it", async () => {
    button("↓").dispatchEvent(new PointerEvent("pointerdown", { button: 0 }));
    vi.advanceTimersByTime(1000);
    const pressed = terminal.keys.length;
    expect(pressed).toBeGreaterThan(5);
    button("↓").dispatchEvent(new PointerEvent("pointerup"));
    await tap("↓");
    vi.advanceTimersByTime(1000);
    expect(terminal.keys).toHaveLength(pressed);
    await tap("↓");
    expect(terminal.keys).toHaveLength(pressed + 1);
  });

  test("asks for a paste", () => {
    const asked = vi.fn();
    bar.addEventListener("paste-wanted", asked);
    button("Paste").click();
    expect(asked).toHaveBeenCalledOnce();
  });
});

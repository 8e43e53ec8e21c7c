import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Desk, type Place } from "../../src/console/desk.ts";
import { addTab, allPanes, changePane, closePane, focusPane, show, splitPane } from "../../src/console/workspace.ts";

/** A history as browsers have it. */
class History implements Place {
  readonly entries = [""];
  at = 0;
  writes = 0;
  #moved = () => {};

  hash(): string {
    return this.entries[this.at] ?? "";
  }
  push(hash: string): void {
    this.writes += 1;
    this.entries.splice(this.at + 1, Number.POSITIVE_INFINITY, hash);
    this.at += 1;
  }
  replace(hash: string): void {
    this.writes += 1;
    this.entries[this.at] = hash;
  }
  onMove(callback: () => void): void {
    this.#moved = callback;
  }
  go(steps: number): void {
    this.at += steps;
    this.#moved();
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the desk", () => {
  test("goes back and forward by what was opened, and keeps the panes that stay", () => {
    const history = new History();
    const desk = new Desk(history);
    const [a, b] = [desk.newPane("a"), desk.newPane("b")];
    desk.change(addTab(desk.space, a));
    desk.change(splitPane(desk.space, a.key, "right", b));
    desk.change(show(desk.space, "metrics"));
    expect(history.entries).toEqual(["", "#/terminals/a", "#/terminals/(a+b*)", "#/metrics/(a+b*)"]);
    history.go(-1);
    expect(desk.space.view).toBe("terminals");
    history.go(-1);
    expect(allPanes(desk.space)).toEqual([a]);
    history.go(1);
    expect(allPanes(desk.space).map(({ session }) => session)).toEqual(["a", "b"]);
    expect(allPanes(desk.space)[0]?.key).toBe(a.key);
    history.go(-2);
    expect(allPanes(desk.space)).toEqual([]);
  });

  test("amends the step for what is no step, and seldom", () => {
    const history = new History();
    const desk = new Desk(history);
    const [a, b] = [desk.newPane("a"), desk.newPane("b")];
    desk.change(addTab(desk.space, a));
    desk.change(splitPane(desk.space, a.key, "right", b));
    const before = history.writes;
    for (let n = 0; n < 500; n++) {
      desk.change(focusPane(desk.space, n % 2 ? a.key : b.key));
      desk.change(changePane(desk.space, a.key, (pane) => ({ ...pane, readOnly: !pane.readOnly })));
    }
    expect(history.writes).toBe(before);
    vi.advanceTimersByTime(1000);
    expect(history.writes).toBe(before + 1);
    expect(history.entries).toEqual(["", "#/terminals/a", "#/terminals/(a+b)"]);
  });

  test("writes what has not settled into its own step before the next one", () => {
    const history = new History();
    const desk = new Desk(history);
    const a = desk.newPane("a");
    desk.change(addTab(desk.space, a));
    desk.change(changePane(desk.space, a.key, (pane) => ({ ...pane, readOnly: true })));
    desk.change(closePane(desk.space, a.key));
    expect(history.entries).toEqual(["", "#/terminals/a!view", "#/terminals"]);
  });

  test("tells of every change, and of none where nothing changed", () => {
    const desk = new Desk(new History());
    let told = 0;
    desk.addEventListener("change", () => {
      told += 1;
    });
    desk.change(desk.space);
    expect(told).toBe(0);
    desk.change(show(desk.space, "health"));
    expect(told).toBe(1);
  });
});

import { describe, expect, test } from "vitest";
import { PaneStates } from "../../src/console/pane_states.ts";

describe("what panes say", () => {
  test("is kept for each of them, and forgotten with it", () => {
    const states = new PaneStates();
    states.hear("a", "terminal-title", { title: "vim" });
    states.hear("b", "terminal-bell", {});
    expect([states.of("a").title, states.of("a").rang, states.of("b").rang]).toEqual(["vim", false, true]);
    states.keep(new Set(["b"]));
    expect([states.of("a").title, states.of("b").rang]).toEqual(["", true]);
  });

  test("is told where somebody would not see it: connected, and connected again", () => {
    const states = new PaneStates();
    const turn = (state: string) => states.hear("a", "terminal-state", { state });
    expect([turn("connecting"), turn("open"), turn("open")]).toEqual(["", "connected", ""]);
    expect([turn("waiting"), turn("connecting"), turn("open")]).toEqual(["", "", "connected again"]);
  });

  test("is taken with care: it comes from programs", () => {
    const states = new PaneStates();
    for (const detail of [null, 3, "open", {}, { state: "nonsense", title: 3 }, { state: "toString" }]) {
      states.hear("a", "terminal-state", detail);
      states.hear("a", "terminal-title", detail);
    }
    expect(states.of("a")).toEqual(states.of("never heard of"));
    states.hear("a", "terminal-title", { title: "x".repeat(10_000) });
    expect(states.of("a").title.length).toBeLessThan(200);
  });
});

// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { pageWakeUps } from "../../src/client/wake_ups.ts";

const told: string[] = [];
let stop = () => {};

function transition(name: string, persisted: boolean): void {
  window.dispatchEvent(Object.assign(new Event(name), { persisted }));
}

beforeEach(() => {
  told.length = 0;
  stop = pageWakeUps(
    () => told.push("wake"),
    () => told.push("sleep"),
  );
});

afterEach(() => {
  stop();
  vi.unstubAllGlobals();
});

test("a network that is back wakes", () => {
  window.dispatchEvent(new Event("online"));
  expect(told).toEqual(["wake"]);
});

test("a page that comes back from the cache wakes, one that is loaded does not", () => {
  transition("pageshow", false);
  expect(told).toEqual([]);
  transition("pageshow", true);
  expect(told).toEqual(["wake"]);
});

test("a page that is left sleeps", () => {
  transition("pagehide", true);
  transition("pagehide", false);
  expect(told).toEqual(["sleep", "sleep"]);
});

test("a page that is seen again wakes, one that is hidden does not", () => {
  const visibility = vi.spyOn(document, "visibilityState", "get");
  visibility.mockReturnValue("hidden");
  document.dispatchEvent(new Event("visibilitychange"));
  expect(told).toEqual([]);
  visibility.mockReturnValue("visible");
  document.dispatchEvent(new Event("visibilitychange"));
  expect(told).toEqual(["wake"]);
});

test("a page that is thawed wakes", () => {
  document.dispatchEvent(new Event("resume"));
  expect(told).toEqual(["wake"]);
});

test("who has stopped hears nothing", () => {
  stop();
  window.dispatchEvent(new Event("online"));
  transition("pagehide", true);
  document.dispatchEvent(new Event("resume"));
  expect(told).toEqual([]);
});

test("where there is no page there is nothing to hear", () => {
  vi.stubGlobal("window", undefined);
  vi.stubGlobal("document", undefined);
  expect(() => pageWakeUps(vi.fn(), vi.fn())()).not.toThrow();
});

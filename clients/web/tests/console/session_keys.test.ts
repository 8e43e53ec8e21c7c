import { expect, test } from "vitest";
import { actionOf, type Key, rowAfter, stepWithin } from "../../src/console/session_keys.ts";

const NONE = { altKey: false, ctrlKey: false, metaKey: false, shiftKey: false };
const key = (name: string, with_: Partial<Key> = {}): Key => ({ ...NONE, key: name, ...with_ });

test.each([
  [key("Enter"), "here"],
  [key("Enter", { ctrlKey: true }), "tab"],
  [key("Enter", { metaKey: true }), "tab"],
  [key("F10", { shiftKey: true }), "menu"],
  [key("F2"), "rename"],
  [key("Delete"), "end"],
  [key(" "), "details"],
  [key("k"), "keepalive"],
  [key("k", { ctrlKey: true }), null],
  [key("Delete", { shiftKey: true }), null],
  [key("Enter", { altKey: true }), null],
  [key("x"), null],
])("%j asks for %s", (pressed, action) => expect(actionOf(pressed)).toBe(action));

test.each([
  ["ArrowDown", 0, 1],
  ["ArrowDown", 4, 4],
  ["ArrowUp", 0, 0],
  ["PageDown", 1, 4],
  ["PageUp", 3, 0],
  ["Home", 3, 0],
  ["End", 0, 4],
  ["Enter", 0, null],
])("%s leads from row %d of five to %s", (name, at, to) => expect(rowAfter(key(name), at, 5)).toBe(to));

test("nothing leads anywhere in an empty list, or with Ctrl", () => {
  expect(rowAfter(key("End"), -1, 0)).toBeNull();
  expect(rowAfter(key("End", { ctrlKey: true }), 0, 5)).toBeNull();
});

test("left and right lead along a row", () => {
  expect([stepWithin(key("ArrowRight")), stepWithin(key("ArrowLeft")), stepWithin(key("Home"))]).toEqual([1, -1, 0]);
});

import { expect, test } from "vitest";
import { withModifiers } from "../src/element/sticky.ts";

test("modifiers of a key bar hold for one character of any keyboard", () => {
  expect(withModifiers("c", { ctrl: true })).toBe("\x03");
  expect(withModifiers("C", { ctrl: true })).toBe("\x03");
  expect(withModifiers("x", { alt: true })).toBe("\x1bx");
  expect(withModifiers("x", { ctrl: true, alt: true })).toBe("\x1b\x18");
  expect(withModifiers("é", { ctrl: true })).toBe("é");
});

test("modifiers of a key bar leave alone what is no character, and all while none is held", () => {
  expect(withModifiers("c", {})).toBeNull();
  expect(withModifiers("\x1b[A", { ctrl: true })).toBeNull();
  expect(withModifiers("word", { alt: true })).toBeNull();
});

import { expect, test } from "vitest";
import { Backoff, LIMIT_MS } from "../../src/client/backoff.ts";
import { Random } from "./support/random.ts";

test("delays double up to ten seconds", () => {
  const backoff = new Backoff(() => 1);
  const delays = Array.from({ length: 8 }, () => backoff.next());
  expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
});

test("delays lie anywhere from nothing to the bound", () => {
  const random = new Random(7);
  const delays = Array.from({ length: 1000 }, () => {
    const backoff = new Backoff(random.next);
    for (let attempt = 0; attempt < 9; attempt += 1) backoff.next();
    return backoff.next();
  });
  expect(Math.min(...delays)).toBeLessThan(LIMIT_MS * 0.05);
  expect(Math.max(...delays)).toBeGreaterThan(LIMIT_MS * 0.95);
  expect(Math.max(...delays)).toBeLessThan(LIMIT_MS);
});

test("a success begins anew", () => {
  const backoff = new Backoff(() => 1);
  for (let attempt = 0; attempt < 5; attempt += 1) backoff.next();
  expect(backoff.attempts).toBe(5);
  backoff.reset();
  expect(backoff.next()).toBe(250);
});

test("where too many are, it begins with seconds", () => {
  const backoff = new Backoff(() => 1);
  expect(backoff.next(true)).toBe(4000);
});

test("it never overflows, however long the outage", () => {
  const backoff = new Backoff(() => 1);
  for (let attempt = 0; attempt < 5000; attempt += 1) backoff.next();
  expect(backoff.next()).toBe(LIMIT_MS);
});

import { expect, test } from "vitest";
import {
  formatAgo,
  formatBytes,
  formatDuration,
  formatRate,
  formatSize,
  formatWhen,
  parseDuration,
  plural,
  spellDuration,
} from "../../src/console/format.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1 kB"],
  [3_100_000, "3.1 MB"],
  [999_960, "1 MB"],
  [123_456, "123 kB"],
  [5e15, "5,000 TB"],
])("%d bytes of traffic read %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test("rates and sizes have their units", () => {
  expect(formatRate(3_100_000)).toBe("3.1 MB/s");
  expect(formatRate(0)).toBe("0 B/s");
  expect(formatSize(16 * 1024 * 1024)).toBe("16 MiB");
  expect(formatSize(1536)).toBe("1.5 KiB");
});

test.each([
  [-3, "0s"],
  [0.4, "0s"],
  [59.9, "59s"],
  [60, "1m"],
  [3599, "59m 59s"],
  [7500, "2h 5m"],
  [86_400 * 6 + 3 * 3600 + 59, "6d 3h"],
])("a length of %d s reads %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

test("a length in words", () => {
  expect(spellDuration(7500)).toBe("2 hours 5 minutes");
  expect(spellDuration(1)).toBe("1 second");
});

test("what a clock has ahead was just now", () => {
  expect(formatAgo(-30)).toBe("just now");
  expect(formatAgo(4)).toBe("just now");
  expect(formatAgo(125)).toBe("2 min ago");
  expect(formatAgo(90_000)).toBe("1 day ago");
});

test("a moment of another day has its day", () => {
  const noon = new Date(2026, 10, 21, 12, 0).getTime() / 1000;
  expect(formatWhen(noon, noon + 60, "en-GB")).toBe("12:00");
  expect(formatWhen(noon, noon + 86_400, "en-GB")).toMatch(/^Sat.* 21 Nov.*12:00$/);
});

test("counts agree with their nouns", () => {
  expect([plural(0, "viewer"), plural(1, "viewer"), plural(2000, "viewer")]).toEqual([
    "0 viewers",
    "1 viewer",
    "2,000 viewers",
  ]);
});

test.each([
  ["90", 5400],
  ["90s", 90],
  ["1.5 h", 5400],
  ["1d 12h", 129_600],
  ["2 hours, 5 minutes", 7500],
  ["1w", 604_800],
  ["", null],
  ["0", null],
  ["soon", null],
  ["5 parsecs", null],
  ["-5m", null],
  ["1h foo", null],
])("the length %j is %s s", (text, seconds) => expect(parseDuration(text)).toBe(seconds));

import { expect, test } from "vitest";
import { parseMetrics, parseValue, sumOf } from "../../src/console/prometheus.ts";

function one(line: string) {
  const { samples, malformed } = parseMetrics(line);
  expect(malformed).toBe(0);
  expect(samples).toHaveLength(1);
  return samples[0];
}

test("a plain sample has a name and a value", () => {
  expect(one("terminal_sessions_active 3.0")).toEqual({
    name: "terminal_sessions_active",
    labels: {},
    value: 3,
    timestamp: null,
  });
});

test("labels are read with their escapes", () => {
  const sample = one('a{path="C:\\\\dir\\n\\"x\\"",other="\\q, }"} 1');
  expect(sample?.labels).toEqual({ path: 'C:\\dir\n"x"', other: "\\q, }" });
});

test("blanks, tabs, a last comma and a time stamp are allowed", () => {
  const sample = one('a { b = "c" , d="" , }\t1.5e3  1395066363000\r');
  expect(sample).toEqual({ name: "a", labels: { b: "c", d: "" }, value: 1500, timestamp: 1395066363000 });
});

test("empty braces are no labels", () => expect(one("a{} 1")?.labels).toEqual({}));

test.each([
  ["+Inf", Infinity],
  ["-Inf", -Infinity],
  ["Inf", Infinity],
  ["1e-7", 1e-7],
  [".5", 0.5],
  ["-0", -0],
])("the value %s", (text, value) => expect(parseValue(text)).toBe(value));

test("not a number is a value, anything else is none", () => {
  expect(parseValue("NaN")).toBeNaN();
  for (const text of ["", "x", "1,5", "0x", "--1"]) expect(parseValue(text)).toBeNull();
});

test.each(["a", "a{", 'a{b="c" 1', 'a{b="c"d="e"} 1', "a{b=c} 1", "1a 2", "a 1 x", 'a{b="c\\"} 1'])(
  "the line %j is counted as malformed and the others are read",
  (line) => {
    const scrape = parseMetrics(`before 1\n${line}\nafter 2\n`);
    expect(scrape.malformed).toBe(1);
    expect(scrape.samples.map((each) => each.name)).toEqual(["before", "after"]);
  },
);

test("types and help are read, other comments passed over", () => {
  const scrape = parseMetrics(
    "# HELP a What\\nit \\\\is.\n# TYPE a counter\n# just words\n#\n# TYPE b wrong\n# EOF\n\na 1",
  );
  expect(scrape.help.get("a")).toBe("What\nit \\is.");
  expect([...scrape.types]).toEqual([["a", "counter"]]);
  expect(scrape.samples).toHaveLength(1);
});

test("a histogram keeps its bounds", () => {
  const scrape = parseMetrics('h_bucket{le="60"} 1\nh_bucket{le="+Inf"} 2\nh_sum 70\nh_count 2');
  expect(scrape.samples.map((each) => each.labels["le"])).toEqual(["60", "+Inf", undefined, undefined]);
});

test("sums go over labels, and are 0 for what has not counted yet, null for what is unknown", () => {
  const scrape = parseMetrics('# TYPE a counter\n# TYPE b counter\na{x="1"} 1\na{x="2"} 2');
  expect(sumOf(scrape, "a")).toBe(3);
  expect(sumOf(scrape, "a", { x: "2" })).toBe(2);
  expect(sumOf(scrape, "b")).toBe(0);
  expect(sumOf(scrape, "c")).toBeNull();
});

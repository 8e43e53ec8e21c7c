import { expect, test } from "vitest";
import { programOf, titleOf } from "../../src/console/session.ts";
import { arrange, isOrder, ORDERS, type Order, placeAfter } from "../../src/console/session_order.ts";
import { ended, NOW, session } from "./sessions.ts";

const a = session({ session_id: "a", name: "job 10", created_at: NOW - 30, expires_at: NOW + 30 });
const b = session({ session_id: "b", name: "Job 9", created_at: NOW - 20, labels: { team: "ops" }, pid: 99 });
const c = ended({ session_id: "c", name: "aaa", created_at: NOW - 10, last_line: "BUILD ok" });
const all = [a, b, c];
const ids = (filter: string, order: Order) =>
  arrange(all, filter, order)
    .map((each) => each.session_id)
    .join("");

test("the living come first, whatever the order", () => {
  expect(ids("", "newest")).toBe("bac");
  expect(ids("", "oldest")).toBe("abc");
  expect(ids("", "name")).toBe("bac");
  expect(ids("", "ending")).toBe("abc");
});

test("all words of a filter match, in names, labels, output, numbers and states", () => {
  expect(ids("job ops", "newest")).toBe("b");
  expect(ids("TEAM=ops", "newest")).toBe("b");
  expect(ids("build", "newest")).toBe("c");
  expect(ids("99", "newest")).toBe("b");
  expect(ids("ended", "newest")).toBe("c");
  expect(ids("  ", "newest")).toBe("bac");
  expect(ids("job moon", "newest")).toBe("");
});

test("the given list is left as it was", () => {
  arrange(all, "", "newest");
  expect(all).toEqual([a, b, c]);
});

test("sessions of the same moment keep one order", () => {
  const same = ["y", "x"].map((session_id) => session({ session_id }));
  expect(arrange(same, "", "newest").map((each) => each.session_id)).toEqual(["x", "y"]);
});

test("orders are known by name", () => {
  expect(Object.keys(ORDERS).every(isOrder)).toBe(true);
  expect(isOrder("toString")).toBe(false);
});

test("the place goes where its session goes, else to what is there now", () => {
  expect(placeAfter(["a", "b"], ["b", "a"], "a")).toBe("a");
  expect(placeAfter(["a", "b", "c"], ["a", "c"], "b")).toBe("c");
  expect(placeAfter(["a", "b"], ["a"], "b")).toBe("a");
  expect(placeAfter(["a"], [], "a")).toBeNull();
  expect(placeAfter([], ["a"], "z")).toBeNull();
});

test("a session without a name is called what it runs", () => {
  expect(titleOf(session({ command: ["htop", "-d", "5"] }))).toBe("htop -d 5");
  expect(titleOf(session({ name: "x", command: ["htop"] }))).toBe("x");
  expect(programOf(session({ shell: "" }))).toBe("shell");
});

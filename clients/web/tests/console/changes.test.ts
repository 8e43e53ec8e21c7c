import { expect, test } from "vitest";
import { type Edited, editedOf, patchOf } from "../../src/console/changes.ts";
import { session } from "./sessions.ts";

const before = session({ name: "a", labels: { team: "ops", old: "x" } });
const patch = (change: Partial<Edited>) => patchOf(before, { ...editedOf(before), ...change });

test("a form that was not touched changes nothing", () => expect(patch({})).toEqual({ changes: {}, errors: {} }));

test("only what is different is sent", () => {
  expect(patch({ name: " b ", policy: "latest" }).changes).toEqual({ name: "b", size_policy: "latest" });
  expect(patch({ name: "" }).changes).toEqual({ name: "" });
});

test("labels that are gone are null, new and changed ones are set, others stay out of it", () => {
  const labels = [
    { name: "team", value: "ops" },
    { name: "old", value: "y" },
    { name: "", value: "" },
  ];
  expect(patch({ labels }).changes).toEqual({ labels: { old: "y" } });
  expect(patch({ labels: [] }).changes).toEqual({ labels: { team: null, old: null } });
});

test("the time to live is one of those offered, another, or the service's default", () => {
  expect(patch({ lifetime: "900" }).changes).toEqual({ ttl_seconds: 900 });
  expect(patch({ lifetime: "default" }).changes).toEqual({ ttl_seconds: null });
  expect(patch({ lifetime: "custom", lifetimeText: "2h" }).changes).toEqual({ ttl_seconds: 7200 });
  expect(Object.keys(patch({ lifetime: "custom", lifetimeText: "soon" }).errors)).toEqual(["ttl_seconds"]);
});

test("names of labels are looked at before they are sent", () => {
  expect(patch({ labels: [{ name: "a b", value: "" }] }).errors["labels"]).toMatch(/a b/);
});

test("a session without a terminal has no policy, and gets none", () => {
  const bare = session({ size_policy: null });
  expect(patchOf(bare, editedOf(bare)).changes).toEqual({});
});

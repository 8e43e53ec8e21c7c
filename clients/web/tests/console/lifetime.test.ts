import { expect, test } from "vitest";
import { endingOf, lifetimeOf } from "../../src/console/lifetime.ts";
import { ended, NOW, session } from "./sessions.ts";

const viewer = { client_id: "c", user: "ann", role: "writer", rows: 24, cols: 80, position: 0 };

test("a session that nobody uses says what moved its end last", () => {
  const life = lifetimeOf(session({ last_bump: { source: "input", at: NOW - 120 }, expires_at: NOW + 3480 }), NOW);
  expect(life).toMatchObject({ left: "58m", isSoon: false, isHeld: false, because: "last bump: input, 2 min ago" });
});

test("viewers that count as activity keep it alive", () => {
  const held = session({ viewers: [viewer], kept_alive_by: ["c"] });
  expect(lifetimeOf(held, NOW)).toMatchObject({ isHeld: true, because: "kept alive by a viewer who is attached" });
  const two = session({ viewers: [viewer, viewer], kept_alive_by: ["c", "d"] });
  expect(lifetimeOf(two, NOW)?.because).toBe("kept alive by 2 viewers who are attached");
});

test("one who only looks does not, and that is said", () => {
  const life = lifetimeOf(session({ viewers: [{ ...viewer, role: "viewer" }] }), NOW);
  expect(life?.because).toBe("last bump: created, 1 min ago; who is attached does not keep it alive");
});

test("nothing extends the longest life a session may have", () => {
  const old = session({ lifetime_ends_at: NOW + 60, expires_at: NOW + 60, viewers: [viewer], kept_alive_by: ["c"] });
  const life = lifetimeOf(old, NOW);
  expect(life).toMatchObject({ isHeld: false, because: "its maximum age", left: "1m" });
  expect(life?.sentence).toMatch(/nothing extends/);
});

test("the end is soon in the last minute, or in the last tenth of a short life, unless it is held off", () => {
  expect(lifetimeOf(session({ expires_at: NOW + 59 }), NOW)?.isSoon).toBe(true);
  expect(lifetimeOf(session({ expires_at: NOW + 400 }), NOW)?.isSoon).toBe(false);
  expect(lifetimeOf(session({ expires_at: NOW + 590, ttl_seconds: 86_400 }), NOW)?.isSoon).toBe(true);
  expect(lifetimeOf(session({ expires_at: NOW + 59, kept_alive_by: ["c"] }), NOW)?.isSoon).toBe(false);
});

test("time never runs below zero", () => expect(lifetimeOf(session({ expires_at: NOW - 5 }), NOW)?.left).toBe("0s"));

test("a source that is not known yet is named as the service does", () => {
  expect(lifetimeOf(session({ last_bump: { source: "moon", at: NOW } }), NOW)?.because).toBe(
    "last bump: moon, just now",
  );
});

test("who has ended has no lifetime but an ending", () => {
  expect(lifetimeOf(ended(), NOW)).toBeNull();
  expect(endingOf(ended(), NOW)).toBe("exit code 3 · Process exited, 1 min ago");
  expect(endingOf(ended({ exit_code: null, signal: "SIGHUP", end_reason: "ttl" }), NOW)).toBe(
    "SIGHUP · ttl, 1 min ago",
  );
  expect(endingOf(ended({ exit_code: null, end_reason: null }), NOW)).toBe("1 min ago");
  const lost = { exit_code: null, end_reason: "place_lost", end_message: "pod box was deleted" };
  expect(endingOf(ended(lost), NOW)).toBe("pod box was deleted, 1 min ago");
  expect(endingOf(session(), NOW)).toBeNull();
});

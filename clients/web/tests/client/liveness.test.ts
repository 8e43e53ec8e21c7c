import { beforeEach, describe, expect, test } from "vitest";
import { INTERVAL_MS, Liveness, type Step } from "../../src/client/liveness.ts";

const TRIP_MS = 40;
let liveness: Liveness;
let now: number;

/** Let time pass to when the next look is due, and look, `lateMs` late. */
function look(lateMs = 0): Step {
  now = Math.max(now, liveness.dueAt) + lateMs;
  return liveness.tick(now);
}

/** The other end answers a ping that was just sent. */
function answer(): void {
  const sentAt = now;
  now += TRIP_MS;
  liveness.heard(now);
  liveness.answered(sentAt, now);
}

/** Look until it asks or gives up. */
function lookUntilStep(lateMs = 0): Step {
  for (let looks = 0; looks < 10; looks += 1) {
    const step = look(lateMs);
    if (step !== null) return step;
  }
  return null;
}

beforeEach(() => {
  now = 5_000;
  liveness = new Liveness(now);
  expect(look()).toBe("ping"); // at once: how long is a round trip?
  answer();
});

test("it asks every interval, also while there is output", () => {
  for (let round = 0; round < 5; round += 1) {
    const before = now;
    expect(lookUntilStep()).toBe("ping");
    expect(now - before).toBeLessThanOrEqual(INTERVAL_MS);
    answer();
    liveness.heard(now + 100);
  }
});

test("the round trip is measured and smoothed", () => {
  expect(liveness.answered(now - 40, now)).toBe(40);
  expect(liveness.answered(now - 120, now)).toBe(60);
  expect(liveness.answered(now - 90_000, now)).toBe(60); // slept in between
  expect(liveness.answered(now + 5, now)).toBe(60); // nonsense
});

test("silence is asked about, and ends it", () => {
  const heardAt = now;
  expect(lookUntilStep()).toBe("ping");
  expect(lookUntilStep()).toBe("dead");
  expect(now - heardAt).toBeLessThan(INTERVAL_MS + 12_000);
});

test("anything heard is an answer", () => {
  expect(lookUntilStep()).toBe("ping");
  liveness.heard(now + 9_000);
  expect(lookUntilStep()).toBe("ping");
});

test("a slow link is given more time", () => {
  const patience = (tripMs: number) => {
    const slow = new Liveness(0);
    slow.tick(0);
    slow.heard(tripMs);
    slow.answered(0, tripMs);
    slow.woke(tripMs);
    return slow.dueAt - tripMs;
  };
  expect(patience(10)).toBeLessThan(2_500);
  expect(patience(2_000)).toBeGreaterThan(8_000);
});

test("a round trip that slept in between does not make it patient", () => {
  for (let round = 0; round < 3; round += 1) liveness.answered(now - 25_000, now);
  liveness.woke(now);
  expect(liveness.dueAt - now).toBeLessThan(2_500);
});

describe("a timer that comes late", () => {
  test("proves nothing: it asks once more", () => {
    expect(lookUntilStep()).toBe("ping");
    expect(lookUntilStep(60_000)).toBe("ping");
    answer();
    expect(lookUntilStep()).toBe("ping");
  });

  test("does not save a dead link for ever: timers of a hidden page are always late", () => {
    expect(lookUntilStep(60_000)).toBe("ping");
    expect(lookUntilStep(60_000)).toBe("ping");
    expect(lookUntilStep(60_000)).toBe("dead");
  });

  test("never ends a link that answers", () => {
    for (let minute = 0; minute < 60; minute += 1) {
      expect(lookUntilStep(60_000)).toBe("ping");
      answer();
    }
  });

  test("is forgiven anew after every answer", () => {
    for (let round = 0; round < 3; round += 1) {
      expect(lookUntilStep()).toBe("ping");
      expect(lookUntilStep(60_000)).toBe("ping");
      answer();
    }
  });
});

describe("a wake-up", () => {
  test("is asked about at once, and silence then counts soon", () => {
    now += 7_000;
    const wokeAt = now;
    expect(liveness.woke(now)).toBe("ping");
    expect(lookUntilStep()).toBe("dead");
    expect(now - wokeAt).toBeGreaterThanOrEqual(2_000);
    expect(now - wokeAt).toBeLessThanOrEqual(3_000);
  });

  test("shortens the wait for an answer that was asked for before", () => {
    expect(lookUntilStep()).toBe("ping");
    const wokeAt = now + 100;
    liveness.woke(wokeAt);
    expect(lookUntilStep()).toBe("dead");
    expect(now - wokeAt).toBeLessThanOrEqual(3_000);
  });

  test("again and again does not put the end off", () => {
    const wokeAt = now;
    for (let index = 0; index < 10; index += 1) liveness.woke(now + index * 100);
    expect(lookUntilStep()).toBe("dead");
    expect(now - wokeAt).toBeLessThanOrEqual(3_000);
  });
});

describe("typing", () => {
  test("asks when nothing was heard for a while, and does not wait long", () => {
    now += 6_000;
    const typedAt = now;
    expect(liveness.typed(now)).toBe("ping");
    expect(liveness.typed(now + 10)).toBeNull();
    expect(lookUntilStep()).toBe("dead");
    expect(now - typedAt).toBeLessThan(6_000);
  });

  test("asks nothing where there is life", () => {
    expect(liveness.typed(now + 100)).toBeNull();
  });
});

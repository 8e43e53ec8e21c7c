// @vitest-environment happy-dom
import { LitElement } from "lit";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Api } from "../../src/console/api.ts";
import { delayAfter, Poll } from "../../src/console/poll.ts";
import { ApiProblem } from "../../src/console/problem.ts";

const good = { failures: 0, tookMs: 10, retryAfterMs: null };

describe("the delay", () => {
  test("is the interval while all is well", () => expect(delayAfter(good, 2000, 0.5)).toBe(2000));

  test("is longer for a service that takes long to answer, within a bound", () => {
    expect(delayAfter({ ...good, tookMs: 500 }, 2000, 0)).toBe(5000);
    expect(delayAfter({ ...good, tookMs: 60_000 }, 2000, 0)).toBe(30_000);
  });

  test("doubles with every failure up to half a minute, and differs between clients", () => {
    const wait = (failures: number, random: number) => delayAfter({ ...good, failures }, 2000, random);
    expect([wait(1, 1), wait(2, 1), wait(3, 1), wait(99, 1)]).toEqual([4000, 8000, 16_000, 30_000]);
    expect(wait(1, 0)).toBe(2000);
  });

  test("is at least what the service asks for", () => {
    expect(delayAfter({ failures: 1, tookMs: 1, retryAfterMs: 90_000 }, 2000, 0)).toBe(90_000);
  });
});

class Host extends LitElement {
  api: Api | null = new Api({ base: "http://host.test/", storage: null, fetch: async () => Response.json({}) });
}
customElements.define("poll-host", Host);

describe("a poll", () => {
  let host: Host;
  let hidden = false;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.spyOn(document, "hidden", "get").mockImplementation(() => hidden);
    vi.spyOn(Math, "random").mockReturnValue(1);
    hidden = false;
    host = new Host();
    host.checkVisibility = () => true;
  });

  afterEach(() => {
    host.remove();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  function begin(task: (signal: AbortSignal) => Promise<void>): Poll {
    const poll = new Poll(host, task, 2000);
    document.body.append(host);
    return poll;
  }

  test("looks soon, and once, at sessions that were touched", async () => {
    const task = vi.fn(async () => {});
    begin(task);
    await vi.advanceTimersByTimeAsync(500);
    host.api?.touched();
    host.api?.touched();
    await vi.advanceTimersByTimeAsync(100);
    expect(task).toHaveBeenCalledTimes(2);
    host.api?.touched();
    host.remove();
    await vi.advanceTimersByTimeAsync(5000);
    expect(task).toHaveBeenCalledTimes(2);
  });

  test("looks at once, then at every interval", async () => {
    const task = vi.fn(async () => {});
    begin(task);
    await vi.advanceTimersByTimeAsync(4100);
    expect(task).toHaveBeenCalledTimes(3);
  });

  test("rests while the page is hidden, and looks at once when it is seen again", async () => {
    const task = vi.fn(async () => {});
    begin(task);
    await vi.advanceTimersByTimeAsync(10);
    hidden = true;
    document.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(task).toHaveBeenCalledTimes(1);
    hidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(10);
    expect(task).toHaveBeenCalledTimes(2);
  });

  test("does not look for a host that is not drawn", async () => {
    const task = vi.fn(async () => {});
    host.checkVisibility = () => false;
    begin(task);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(task).not.toHaveBeenCalled();
  });

  test("backs off on failures, tells of them, and recovers", async () => {
    let isBroken = true;
    const task = vi.fn(async () => {
      if (isBroken) throw new Error("broken");
    });
    const poll = begin(task);
    await vi.advanceTimersByTimeAsync(10);
    expect([poll.failures, String(poll.error)]).toEqual([1, "Error: broken"]);
    await vi.advanceTimersByTimeAsync(3900);
    expect(task).toHaveBeenCalledTimes(1);
    isBroken = false;
    await vi.advanceTimersByTimeAsync(200);
    expect([task.mock.calls.length, poll.failures, poll.error]).toEqual([2, 0, null]);
  });

  test("asks no more once the service wants to know who we are, until it is told to", async () => {
    const task = vi.fn(async () => {
      throw new ApiProblem(401, "credentials_missing", "Unauthorized", "a key is needed");
    });
    const poll = begin(task);
    await vi.advanceTimersByTimeAsync(120_000);
    expect([task.mock.calls.length, poll.nextAt]).toEqual([1, null]);
    poll.now();
    await vi.advanceTimersByTimeAsync(10);
    expect(task).toHaveBeenCalledTimes(2);
  });

  test("looks again when somebody signs in, and forgets what it knows when they sign out", async () => {
    const task = vi.fn(async () => {});
    const forget = vi.fn();
    new Poll(host, task, 2000, forget);
    document.body.append(host);
    await vi.advanceTimersByTimeAsync(10);
    host.api?.dispatchEvent(new Event("signed-in"));
    await vi.advanceTimersByTimeAsync(10);
    expect([task.mock.calls.length, forget.mock.calls.length]).toEqual([2, 0]);
    host.api?.signOut();
    await vi.advanceTimersByTimeAsync(10);
    expect([task.mock.calls.length, forget.mock.calls.length]).toEqual([3, 1]);
  });

  test("leaves nothing behind at an Api that outlives its host", async () => {
    const task = vi.fn(async () => {});
    begin(task);
    await vi.advanceTimersByTimeAsync(10);
    host.remove();
    host.api?.dispatchEvent(new Event("signed-in"));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(task).toHaveBeenCalledTimes(1);
  });

  test("gives up what is under way when it is told to look now, or when its host leaves", async () => {
    const signals: AbortSignal[] = [];
    const poll = begin((signal) => {
      signals.push(signal);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    });
    await vi.advanceTimersByTimeAsync(10);
    poll.now();
    await vi.advanceTimersByTimeAsync(10);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
    host.remove();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, true]);
    expect(poll.error).toBeNull();
  });
});

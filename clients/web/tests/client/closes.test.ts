import { expect, test } from "vitest";
import { judge } from "../../src/client/closes.ts";

test.each([1008, 1009, 4400, 4401, 4403, 4404, 4409])("%d: trying again would change nothing", (code) => {
  expect(judge(code, "")).toEqual({ next: "refused" });
});

test.each([1000, 1001, 1005, 1006, 1011, 1013, 4999])("%d: try again", (code) => {
  expect(judge(code, "")).toEqual({ next: "retry", afterMs: 0, isBusy: false });
});

test("what was asked for is an end of trying, what merely looks like it is not", () => {
  expect(judge(1000, "detached")).toEqual({ next: "idle" });
  expect(judge(1000, "proxy goes home")).toMatchObject({ next: "retry" });
});

test("the end of the session is an end", () => {
  expect(judge(4410, "session ended")).toEqual({ next: "ended" });
});

test("a restart waits as told, within reason", () => {
  expect(judge(1012, "service restart; retry_after_ms=750")).toMatchObject({ next: "retry", afterMs: 750 });
  expect(judge(1012, "")).toMatchObject({ afterMs: 0 });
  expect(judge(1012, "retry_after_ms=99999999999999")).toMatchObject({ afterMs: 60_000 });
  expect(judge(1001, "retry_after_ms=750")).toMatchObject({ afterMs: 0 });
});

test("too many viewers: come back, not soon", () => {
  expect(judge(4429, "")).toMatchObject({ next: "retry", isBusy: true });
});

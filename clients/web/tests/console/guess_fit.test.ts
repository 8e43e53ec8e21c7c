import { expect, test } from "vitest";
import { guessFit } from "../../src/console/guess_fit.ts";

test("what is guessed is near what was measured, and within what the service takes", () => {
  expect(guessFit({ width: 973, height: 753 }, 14)).toEqual({ rows: 41, cols: 112 }); // measured: 42 and 112
  expect(guessFit({ width: 1, height: 1 }, 14)).toEqual({ rows: 10, cols: 10 });
  expect(guessFit({ width: 1e6, height: 1e6 }, 14)).toEqual({ rows: 1000, cols: 1000 });
  expect(guessFit({ width: 0, height: 0 }, 14)).toBeNull();
});

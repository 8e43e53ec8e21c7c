// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { sentence } from "../../src/console/notes.ts";

test.each([
  ["the service is away", "The service is away."],
  ["the service is away. ", "The service is away."],
  ["which program?", "Which program?"],
  ["no!", "No!"],
])("%j is the sentence %j", (text, whole) => expect(sentence(text)).toBe(whole));

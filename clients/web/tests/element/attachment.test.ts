import { expect, test } from "vitest";
import { Emitter } from "../../src/client/emitter.ts";
import type { Attached, Events, TerminalClient } from "../../src/client/types.ts";
import { Attachment, type Listener } from "../../src/element/attachment.ts";
import { Feed } from "../../src/element/feed.ts";
import type { Screen } from "../../src/element/screen.ts";
import { newView } from "../../src/element/view.ts";

const disposable = { dispose: () => undefined };

test("a gap that an attach begins with is told once", () => {
  const emitter = new Emitter<Events>();
  const client = {
    clientId: "me",
    on: <Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void) => emitter.on(name, listener),
    rendered: () => undefined,
    stop: () => undefined,
  } as unknown as TerminalClient;
  const sink = { write: (_: Uint8Array | string, parsed?: () => void) => parsed?.() };
  const terminal = {
    _core: { coreService: { onUserInput: () => disposable } },
    ...{ onData: () => disposable, onBinary: () => disposable, onBell: () => disposable },
  };
  const screen = { terminal, feed: new Feed(sink, (error) => expect.fail(String(error))), resize: () => undefined };
  const gaps: number[] = [];
  const quiet = {
    changed: () => undefined,
    emit: () => undefined,
    resized: () => undefined,
    typed: () => undefined,
    answered: () => undefined,
  };
  const listener: Listener = { ...quiet, gap: ({ lostBytes }) => gaps.push(lostBytes) };
  new Attachment(client, screen as unknown as Screen, newView(), listener);

  // As the client does: the greeting, then what is missing before it.
  const attached = { recover: "gap", seq: 900, head: 900, lost_bytes: 700, rows: 24, cols: 80 } as Attached;
  emitter.emit("attached", attached);
  emitter.emit("gap", { first: 200, last: 900, lostBytes: 700, reason: "trimmed" });
  expect(gaps).toEqual([700]);
});

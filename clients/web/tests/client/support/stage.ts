// A client with everything around it in the test's hands.
import { createClient, type Events, type Options } from "../../../src/client/index.ts";
import { FakeServer } from "./fake_server.ts";
import { ManualClock } from "./manual_clock.ts";

type Told = { [Name in keyof Events]: Events[Name][] };

const NAMES = [
  "state",
  "attached",
  "output",
  "replayEnd",
  "gap",
  "resize",
  "viewers",
  "heartbeat",
  "storage",
  "draining",
  "notice",
  "flow",
  "input",
  "link",
  "ended",
  "error",
] as const satisfies (keyof Events)[];

/** Make a client, not started yet; `told` has every event it gave. */
export function stage(options: Partial<Options> = {}) {
  const server = new FakeServer();
  const clock = new ManualClock();
  const page = { wake: () => {}, sleep: () => {}, isWatched: false };
  const client = createClient({
    url: "ws://host/ws/terminal/s",
    clientId: "me",
    WebSocket: server.WebSocket,
    clock,
    wakeUps: (wake, sleep) => {
      Object.assign(page, { wake, sleep, isWatched: true });
      return () => Object.assign(page, { isWatched: false });
    },
    ...options,
  });
  const told = Object.fromEntries(NAMES.map((name) => [name, []])) as unknown as Told;
  const order: string[] = [];
  const listen = <Name extends keyof Events>(name: Name) =>
    client.on(name, (event) => {
      told[name].push(event);
      order.push(name);
    });
  for (const name of NAMES) listen(name);
  const text = () => Buffer.concat(told.output.map(({ data }) => data)).toString();
  const lastState = () => told.state.at(-1);
  return { server, clock, page, client, told, order, text, lastState };
}

/** The same, started and attached. */
export function attached(options: Partial<Options> = {}, fields = {}) {
  const staged = stage(options);
  staged.client.start();
  staged.server.socket.greet(fields);
  return staged;
}

/** Let promises that are settled be noticed. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

// Random runs against a small service over links that break anywhere: what is typed and printed comes once, in order.
import { describe, expect, test } from "vitest";
import { createClient, type TerminalClient } from "../../src/client/index.ts";
import { ManualClock } from "./support/manual_clock.ts";
import { ModelServer } from "./support/model_server.ts";
import { Random } from "./support/random.ts";

const SEED = Number(process.env["SEED"] ?? 4);
const RUNS = Number(process.env["RUNS"] ?? 12);
const STEPS = 1_500;

interface Run {
  random: Random;
  server: ModelServer;
  clock: ManualClock;
  client: TerminalClient;
  /** What was typed and accepted. */
  typed: number[];
  /** What was printed, by position, as the listener was given it. */
  got: Map<number, number>;
  gaps: { first: number; last: number }[];
  errors: string[];
  /** What the emulator's queue has, in order: ends of what is to be rendered. */
  queue: number[];
  wake: () => void;
}

function begin(seed: number): Run {
  const random = new Random(seed);
  const server = new ModelServer(random);
  const clock = new ManualClock();
  clock.chance = random.next;
  const run: Partial<Run> = { random, server, clock, typed: [], got: new Map(), gaps: [], errors: [], queue: [] };
  const { WebSocket } = server;
  const client = createClient({
    url: "ws://host/t",
    from: 0,
    WebSocket,
    clock,
    wakeUps: (wake) => {
      run.wake = wake;
      return () => {};
    },
  });
  const whole = Object.assign(run, { client, wake: () => {} }) as Run;
  listen(whole);
  client.start();
  return whole;
}

function listen({ client, got, gaps, errors, queue }: Run): void {
  let next = 0;
  client.on("attached", ({ seq, recover }) => {
    if (recover !== "gap") expect(seq, "goes on where it was").toBe(next);
  });
  client.on("output", ({ data, seq }) => {
    expect(seq - data.length, "no byte twice, none left out").toBe(next);
    for (const byte of data) got.set(next++, byte);
    queue.push(seq);
  });
  client.on("gap", ({ first, last }) => {
    expect(first).toBe(next);
    next = last;
    gaps.push({ first, last });
    queue.push(last);
  });
  client.on("error", ({ code }) => errors.push(code));
}

function type({ random, client, typed }: Run): void {
  const kind = random.next();
  const data = random.bytes(kind < 0.7 ? 1 : kind < 0.95 ? random.between(2, 200) : random.between(1_000, 60_000));
  if (kind < 0.1) data.fill(3);
  if (client.send(data)) for (const byte of data) typed.push(byte);
}

function render({ random, client, queue }: Run): void {
  const seq = queue.splice(0, random.between(1, 5)).at(-1);
  if (seq !== undefined) client.rendered(seq);
}

/** One thing happens. */
function step(run: Run, { trims }: { trims: boolean }): void {
  const { random, server, clock } = run;
  const dice = random.next();
  if (dice < 0.55) server.move();
  else if (dice < 0.65) type(run);
  else if (dice < 0.75) server.print(random.bytes(random.between(1, 900)));
  else if (dice < 0.85) render(run);
  else if (dice < 0.92) server.read(random.between(1, 5));
  else if (dice < 0.96) clock.advance(random.between(1, 400));
  else if (dice < 0.965) clock.freeze(random.between(1, 100_000));
  else if (dice < 0.97) run.wake();
  else if (dice < 0.985) server.cut({ isTold: random.chance(0.8) });
  else if (dice < 0.99) server.restart();
  else if (dice < 0.992) run.client.reconnect();
  else if (dice < 0.993) {
    run.client.stop();
    run.client.start();
  } else if (trims) server.trim(random.between(1, 3_000));
}

/** Nothing breaks any more: everything must come to its end. */
function settle(run: Run): void {
  const { server, clock, client } = run;
  for (let round = 0; round < 20_000; round += 1) {
    server.move();
    server.read(10);
    render(run);
    if (server.isQuiet) clock.advance(500);
    if (server.isQuiet && client.state === "open" && client.pendingInputBytes === 0 && client.link.lagBytes === 0)
      return;
  }
  throw new Error(`not at rest: ${client.state}, ${client.pendingInputBytes} pending, ${JSON.stringify(client.link)}`);
}

const seeds = Array.from({ length: RUNS }, (_, index) => SEED * 1_000 + index);

describe("with links that break anywhere", () => {
  test.each(seeds)("everything comes once, both ways (seed %d)", (seed) => {
    const run = begin(seed);
    for (let count = 0; count < STEPS; count += 1) step(run, { trims: false });
    settle(run);
    expect(Buffer.from(run.server.written).equals(Buffer.from(run.typed)), "typed").toBe(true);
    expect(Buffer.from([...run.got.values()]).equals(Buffer.from(run.server.printed)), "printed").toBe(true);
    expect(run.gaps).toEqual([]);
    expect(run.errors).toEqual([]);
    expect(run.server.mostOutstanding).toBeLessThanOrEqual(2_000);
  });
});

describe("with output that is kept no longer", () => {
  test.each(seeds)("what is missing is told, to the byte (seed %d)", (seed) => {
    const run = begin(seed);
    for (let count = 0; count < STEPS; count += 1) step(run, { trims: true });
    settle(run);
    const { printed } = run.server;
    for (const [position, byte] of run.got) expect(byte).toBe(printed[position]);
    const missing = run.gaps.reduce((sum, { first, last }) => sum + last - first, 0);
    expect(run.got.size + missing).toBe(printed.length);
    expect(Buffer.from(run.server.written).equals(Buffer.from(run.typed)), "typed").toBe(true);
    expect(run.errors).toEqual([]);
  });
});

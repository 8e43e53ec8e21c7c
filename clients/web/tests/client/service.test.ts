// The client against the real service, over connections that are cut.
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { systemClock } from "../../src/client/clock.ts";
import { type Clock, createClient, type Options } from "../../src/client/index.ts";
import { type Cut, CuttingProxy } from "./support/cutting_proxy.ts";
import { Random } from "./support/random.ts";
import { Recorder } from "./support/recorder.ts";
import { Service } from "./support/service.ts";

const ECHO = ["sh", "-c", "stty raw -echo; printf READY; exec cat"];
const SEED = Number(process.env["SEED"] ?? 20_261_121);

let service: Service;

beforeAll(async () => {
  service = await Service.start();
}, 90_000);

afterAll(() => service?.stop());

function connectTo(sessionId: string, options: Partial<Options> = {}, port = Number(new URL(service.url).port)) {
  const url = `ws://127.0.0.1:${port}/ws/terminal/${sessionId}`;
  const client = createClient({ url, WebSocket, from: 0, ...options });
  const recorder = new Recorder(client);
  client.start();
  return { client, recorder };
}

/** Cuts after so many bytes; the handshake is the first 500 or so. */
function cutAfter(random: Random, low: number, high: number, direction: Cut["direction"]): Cut {
  return { direction, bytes: random.between(low, high), isReset: random.chance(0.5) };
}

/** The real clock, and no patience. */
const hasty: Clock = { ...systemClock, random: () => 0 };

describe("a shell", () => {
  test("types and reads, and learns how it ended", async () => {
    const id = await service.createSession({ command: ["sh"], rows: 24, cols: 80 });
    const { client, recorder } = connectTo(id);
    client.resize(30, 90);
    client.send("stty size; echo so$((40+2)); exit 3\r"); // before the connection is there
    await recorder.until(() => recorder.ended !== null, "the end");
    expect(recorder.text).toContain("so42");
    expect(recorder.text).toContain("30 90");
    expect(recorder.ended).toMatchObject({ exitCode: 3 });
    expect(client.state).toBe("ended");
    expect(client.pendingInputBytes).toBe(0);
    expect(recorder.errors).toEqual([]);
  });

  test("measures the round trip, and shows who is there", async () => {
    const id = await service.createSession({ command: ECHO });
    const { client, recorder } = connectTo(id);
    const names = new Promise((resolve) => {
      client.on("viewers", ({ viewers }) => resolve(viewers.map(({ client_id: name }) => name)));
    });
    await recorder.until(() => client.link.rttMs !== null, "a round trip");
    expect(client.link.rttMs).toBeLessThan(1_000);
    expect(await names).toEqual([client.clientId]);
    client.stop();
    await service.end(id);
  });

  test("is interrupted though it reads nothing of a long paste", async () => {
    const command = ["sh", "-c", 'trap "echo CAUGHT; exit 7" INT; printf READY; while :; do sleep 0.05; done'];
    const id = await service.createSession({ command });
    const { client, recorder } = connectTo(id);
    await recorder.until(() => recorder.text.includes("READY"), "readiness");
    client.send(new Uint8Array(800_000).fill(120));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const begunAt = performance.now();
    client.send("\x03");
    await recorder.until(() => recorder.text.includes("CAUGHT"), "the interrupt");
    expect(performance.now() - begunAt).toBeLessThan(1_000);
    await recorder.until(() => recorder.ended !== null, "the end");
    expect(recorder.ended).toMatchObject({ exitCode: 7 });
    expect(recorder.errors.map(({ code }) => code)).toEqual(["input_discarded"]);
  });
});

describe("who is not let in", () => {
  test("is told why, and does not try again", async () => {
    const { client, recorder } = connectTo("2f6f6b0e-6c39-4d1a-9d4e-0d3f5c1f8a11");
    await recorder.until(() => client.state === "refused", "the refusal");
    expect(recorder.states.at(-1)).toMatchObject({ code: 4404 });
    expect(recorder.errors).toHaveLength(1);
  });

  test("because another has the same name gives way, and makes no war of it", async () => {
    const id = await service.createSession({ command: ECHO });
    const one = connectTo(id, { clientId: "tab", clock: hasty });
    await one.recorder.until(() => one.client.state === "open", "the first");
    const other = connectTo(id, { clientId: "tab", clock: hasty });
    await one.recorder.until(() => one.client.state === "refused", "the first to give way");
    await other.recorder.until(() => other.client.link.rttMs !== null, "the second");
    expect(one.recorder.states.at(-1)).toMatchObject({ code: 4409 });
    expect([one.recorder.attaches, other.recorder.attaches]).toEqual([1, 1]);
    other.client.stop();
    await service.end(id);
  });

  test("to type may look", async () => {
    const id = await service.createSession({ command: ECHO });
    const { client, recorder } = connectTo(id, { role: "viewer" });
    await recorder.until(() => recorder.text === "READY", "the output");
    client.resize(10, 10);
    expect(client.send("x")).toBe(false);
    await recorder.until(() => client.link.rttMs !== null, "a round trip");
    expect(recorder.errors).toEqual([]);
    client.stop();
    await service.end(id);
  });
});

describe("cut many times", () => {
  test("every byte comes once, in both directions", { timeout: 120_000 }, async () => {
    const random = new Random(SEED);
    const id = await service.createSession({ command: ECHO });
    const proxy = await CuttingProxy.start(new URL(service.url), () =>
      cutAfter(random, 200, 6_000, random.chance(0.5) ? "up" : "down"),
    );
    const { client, recorder } = connectTo(id, { clock: hasty }, proxy.port);
    await recorder.until(() => recorder.text === "READY", "readiness");
    let sent = "READY";
    for (let number = 0; proxy.cuts < 150; number += 1) {
      const text = `<${number} ${"\u20ac".repeat(random.between(0, 90))}>`;
      sent += text;
      await client.drained(4_000);
      expect(client.send(text)).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, random.between(0, 3)));
    }
    await recorder.until(() => client.pendingInputBytes === 0, "every acknowledgement", 60_000);
    await recorder.until(() => recorder.position >= Buffer.byteLength(sent), "the whole echo", 60_000);
    client.stop();
    await proxy.stop();
    expect(recorder.text === sent, "what was given out").toBe(true);
    expect((await service.output(id)).toString() === sent, "what was printed").toBe(true);
    expect(recorder.gaps).toEqual([]);
    expect(recorder.errors).toEqual([]);
    await service.end(id);
  });

  test("a long paste arrives whole", { timeout: 60_000 }, async () => {
    const random = new Random(SEED + 1);
    const paste = random.bytes(3_000_000);
    const command = ["sh", "-c", `stty raw -echo; printf READY; head -c ${paste.length} | sha256sum`];
    const id = await service.createSession({ command });
    const proxy = await CuttingProxy.start(new URL(service.url), () => cutAfter(random, 20_000, 400_000, "up"));
    const { client, recorder } = connectTo(id, { clock: hasty }, proxy.port);
    await recorder.until(() => recorder.text.includes("READY"), "readiness");
    for (let at = 0; at < paste.length; at += 50_000) {
      await client.drained(256 * 1024);
      expect(client.send(paste.subarray(at, at + 50_000))).toBe(true);
    }
    await recorder.until(() => recorder.ended !== null, "the end");
    await proxy.stop();
    expect(proxy.cuts).toBeGreaterThan(3);
    expect(recorder.text).toContain(createHash("sha256").update(paste).digest("hex"));
    expect(recorder.errors).toEqual([]);
  });

  test("a flood arrives whole", { timeout: 60_000 }, async () => {
    const random = new Random(SEED + 2);
    const id = await service.createSession({ command: ["sh", "-c", "stty raw; seq 1 400000"] });
    const proxy = await CuttingProxy.start(new URL(service.url), () => cutAfter(random, 20_000, 400_000, "down"));
    const { recorder } = connectTo(id, { clock: hasty }, proxy.port);
    await recorder.until(() => recorder.ended !== null, "the end", 60_000);
    await proxy.stop();
    const expected = Buffer.from(Array.from({ length: 400_000 }, (_, index) => `${index + 1}\n`).join(""));
    expect(recorder.output.equals(expected)).toBe(true);
    expect(proxy.cuts).toBeGreaterThan(3);
    expect(recorder.gaps).toEqual([]);
    expect(recorder.errors).toEqual([]);
  });
});

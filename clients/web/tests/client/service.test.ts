// The client against the real service, over connections that are cut.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createClient, type Options } from "../../src/client/index.ts";
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

function connectTo(sessionId: string, options: Partial<Options> = {}, port = new URL(service.url).port) {
  const url = `ws://127.0.0.1:${port}/ws/terminal/${sessionId}`;
  const client = createClient({ url, WebSocket, from: 0, ...options });
  const recorder = new Recorder(client);
  client.start();
  return { client, recorder };
}

/** Cuts soon after the handshake (its 500 bytes or so), now and then before its end. */
function cutSoon(random: Random): Cut {
  const direction = random.chance(0.5) ? "up" : "down";
  return { direction, bytes: random.between(200, 6_000), isReset: random.chance(0.5) };
}

describe("a shell", () => {
  test("types and reads, and learns how it ended", async () => {
    const id = await service.createSession({ command: ["sh"], rows: 24, cols: 80 });
    const { client, recorder } = connectTo(id);
    client.send("echo so$((40+2)); exit 3\r"); // before the connection is there
    await recorder.until(() => recorder.ended !== null, "the end");
    expect(recorder.text).toContain("so42");
    expect(recorder.ended).toMatchObject({ exitCode: 3 });
    expect(client.state).toBe("ended");
    expect(client.pendingInputBytes).toBe(0);
    expect(recorder.errors).toEqual([]);
  });
});

describe("cut many times", () => {
  test("every byte comes once, in both directions", { timeout: 120_000 }, async () => {
    const random = new Random(SEED);
    const id = await service.createSession({ command: ECHO });
    const proxy = await CuttingProxy.start(new URL(service.url), () => cutSoon(random));
    const clock = { now: () => performance.now(), random: () => 0, setTimeout, clearTimeout };
    const { client, recorder } = connectTo(id, { clock: clock as NonNullable<Options["clock"]> }, String(proxy.port));
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
    expect(recorder.text).toBe(sent);
    expect((await service.output(id)).toString()).toBe(sent);
    expect(recorder.gaps).toEqual([]);
    expect(recorder.errors).toEqual([]);
    await service.end(id);
  });
});

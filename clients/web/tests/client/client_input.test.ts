// What the client says: input that arrives once, sizes, signals, modes.
import { describe, expect, test } from "vitest";
import { attached, stage } from "./support/stage.ts";

describe("typed input", () => {
  test("is numbered and sent at once", () => {
    const { server, client } = attached();
    expect(client.send("a")).toBe(true);
    expect(client.send(new Uint8Array([0xc3, 0xa9]))).toBe(true);
    expect(server.socket.typed).toEqual(["1:a", "2:é"]);
    expect(client.pendingInputBytes).toBe(3);
  });

  test("of before the connection is sent when it is there", () => {
    const { server, client } = stage();
    client.send("early ");
    client.start();
    client.send("bird");
    server.socket.greet({ input_n: 4 });
    expect(server.socket.typed).toEqual(["5:early bird"]);
  });

  test("is kept until it is acknowledged, and sent again on the next connection", () => {
    const { server, client, clock, told } = attached();
    for (const key of ["a", "b", "c"]) client.send(key);
    server.socket.say({ type: "input_ack", n: 1 }).end();
    client.send("d");
    client.send("e");
    clock.advance(250);
    server.socket.greet({ recover: "exact", input_n: 2 });
    expect(server.socket.typed).toEqual(["2:b", "3:c", "4:de"]);
    server.socket.say({ type: "input_ack", n: 4 });
    expect(client.pendingInputBytes).toBe(0);
    expect(told.input.at(-1)).toEqual({ pendingBytes: 0, droppedBytes: 0 });
  });

  test("is refused when too much waits, and told", () => {
    const { client, told } = stage({ maxPendingInputBytes: 10 });
    expect(client.send("0123456789")).toBe(true);
    expect(client.send("x")).toBe(false);
    expect(told.input.at(-1)).toEqual({ pendingBytes: 10, droppedBytes: 1 });
  });

  test("that may or may not have been typed is given up and told, the rest is not", () => {
    const { server, client, clock, told } = attached();
    client.send("a");
    server.socket.say({ type: "input_ack", n: 1 });
    client.send("risky");
    server.socket.end();
    client.send("safe");
    clock.advance(250);
    server.socket.greet({ recover: "exact", input_n: 0 });
    expect(server.socket.typed).toEqual(["1:safe"]);
    expect(told.error).toMatchObject([{ code: "input_uncertain" }]);
    expect(told.input.some(({ droppedBytes }) => droppedBytes === 5)).toBe(true);
  });

  test("that the service finds out of order begins a new connection, which says what it knows", () => {
    const { server, client, clock, told } = attached();
    client.send("a");
    server.socket.say({ type: "error", code: "input_out_of_order", error: "n: expected 1", expected: 1 });
    expect(told.error).toMatchObject([{ code: "input_out_of_order" }]);
    clock.advance(10_000);
    server.socket.greet({ recover: "exact", input_n: 0 });
    expect(server.socket.typed).toEqual(["1:a"]);
  });

  test("of who only looks is refused, and no size is sent either", () => {
    const { server, client } = attached({ role: "viewer" }, { role: "viewer" });
    expect(client.send("a")).toBe(false);
    client.resize(10, 10);
    expect(server.socket.all("input")).toEqual([]);
    expect(server.socket.all("resize")).toEqual([]);
  });

  test("into a socket that is full waits until something is acknowledged", () => {
    const { server, client } = attached();
    server.socket.bufferedAmount = 1_000_000;
    client.send("abc");
    expect(server.socket.typed).toEqual([]);
    server.socket.bufferedAmount = 0;
    client.send("d");
    expect(server.socket.typed).toEqual(["1:abcd"]);
  });

  test("that waits behind a full socket goes on with the next answer", () => {
    const { server, client } = attached();
    client.send("a");
    server.socket.bufferedAmount = 1_000_000;
    client.send("b");
    server.socket.bufferedAmount = 0;
    server.socket.say({ type: "input_ack", n: 1 });
    expect(server.socket.typed).toEqual(["1:a", "2:b"]);
  });

  test("of Ctrl-C waits for nothing, and nothing is sent ahead of what was typed before it", () => {
    const { server, client } = attached();
    client.send(new Uint8Array(500_000).fill(120));
    server.socket.bufferedAmount = 1_000_000;
    client.send("\x03");
    const inputs = server.socket.all("input");
    expect(inputs.reduce((sum, { data }) => sum + data.length, 0)).toBe(500_001);
    expect(Buffer.from(inputs.at(-1)?.data ?? "").toString()).toBe("\x03");
    expect(inputs.map(({ n }) => n)).toEqual(inputs.map((_, index) => index + 1));
  });
});

describe("a long paste", () => {
  test("goes as fast as it is acknowledged, whole and in order", async () => {
    const { server, client } = attached();
    const paste = Uint8Array.from({ length: 3_000_000 }, (_, index) => index % 251);
    const pasting = (async () => {
      for (let at = 0; at < paste.length; at += 65_536) {
        await client.drained(128 * 1024);
        expect(client.send(paste.subarray(at, at + 65_536))).toBe(true);
        expect(client.pendingInputBytes).toBeLessThan(200 * 1024);
      }
      await client.drained(1);
    })();
    for (let acked = 0; acked < 400; acked += 1) {
      const last = server.socket.all("input").at(-1)?.n ?? 0;
      if (last > acked) server.socket.say({ type: "input_ack", n: acked + 1 });
      await Promise.resolve();
    }
    await pasting;
    const arrived = Buffer.concat(server.socket.all("input").map(({ data }) => data));
    expect(arrived.equals(paste)).toBe(true);
  });

  test("ends when the session does", async () => {
    const { server, client } = attached();
    client.send("abc");
    const drained = client.drained(1);
    server.socket.say({ type: "session_ended", reason: "exited", exit_code: 0, signal: null, pid: 1 });
    await expect(drained).rejects.toThrow("exited");
    await expect(client.drained(1)).rejects.toThrow("ended");
  });

  test("ends when we leave, or are refused", async () => {
    const { client } = attached();
    client.send("abc");
    const drained = client.drained(1);
    client.stop();
    await expect(drained).rejects.toThrow("stopped");
    const other = attached();
    other.client.send("abc");
    const refused = other.client.drained(1);
    other.server.socket.end(4409, "superseded");
    await expect(refused).rejects.toThrow("superseded");
  });

  test("goes on at once where nothing waits", async () => {
    const { client } = attached();
    await client.drained(1);
  });
});

describe("the end of the session", () => {
  test("gives up what was not acknowledged, and says so", () => {
    const { server, client, told } = attached();
    client.send("abc");
    server.socket.say({ type: "session_ended", reason: "exited", exit_code: 3, signal: null, pid: 1 });
    expect(told.input.at(-1)).toEqual({ pendingBytes: 0, droppedBytes: 3 });
    expect(told.ended).toEqual([{ reason: "exited", exitCode: 3, signal: null, message: "" }]);
    expect(client.state).toBe("ended");
    expect(client.send("x")).toBe(false);
    expect(server.socket.closedWith).not.toBeNull();
  });

  test("seen only afterwards, tells what had been taken and what had not", () => {
    const { server, client, clock, told } = attached();
    client.send("abc");
    server.socket.end();
    client.send("more");
    clock.advance(250);
    server.socket.greet({ recover: "exact", ended: true, input_n: 1 });
    expect(client.state).toBe("open"); // its last output is still to come
    expect(server.socket.typed).toEqual([]);
    server.socket.output("bye", 3).say({ type: "session_ended", reason: "x", exit_code: 0, signal: null, pid: 1 });
    expect(told.input.at(-1)).toEqual({ pendingBytes: 0, droppedBytes: 4 });
    expect(client.state).toBe("ended");
  });
});

describe("the size", () => {
  test("is said on every connection, the latest only", () => {
    const { server, client, clock } = stage();
    client.resize(10, 20);
    client.resize(30, 40);
    client.start();
    server.socket.greet();
    expect(server.socket.all("resize")).toEqual([{ type: "resize", rows: 30, cols: 40 }]);
    client.resize(31, 40);
    server.socket.end();
    client.resize(32, 40);
    clock.advance(250);
    server.socket.greet({ recover: "exact" });
    expect(server.socket.all("resize")).toEqual([{ type: "resize", rows: 32, cols: 40 }]);
  });

  test("is one the service takes", () => {
    const { server, client } = attached();
    client.resize(0, 5_000);
    client.resize(24.9, Number.NaN);
    expect(server.socket.all("resize").map(({ rows, cols }) => [rows, cols])).toEqual([
      [1, 1000],
      [24, 1],
    ]);
  });
});

describe("the mode", () => {
  test("is changed at once and asked for again on every connection", () => {
    const { server, client, clock, told } = attached();
    client.setMode("live");
    expect(server.socket.all("mode")).toEqual([{ type: "mode", mode: "live" }]);
    expect(told.link.at(-1)).toMatchObject({ mode: "live" });
    server.socket.end();
    clock.advance(250);
    expect(server.socket.query).toMatchObject({ mode: "live" });
    server.socket.greet({ recover: "exact", mode: "live" });
    expect(server.socket.all("mode")).toEqual([]);
  });

  test("that was changed while connecting is said after the greeting", () => {
    const { server, client } = stage();
    client.start();
    client.setMode("frozen");
    server.socket.greet();
    expect(server.socket.all("mode")).toEqual([{ type: "mode", mode: "frozen" }]);
  });
});

describe("a signal", () => {
  test("is sent at once, past input that waits", () => {
    const { server, client } = attached();
    client.send(new Uint8Array(500_000));
    client.signal("INT");
    expect(server.socket.heard.at(-1)).toEqual({ type: "signal", name: "INT" });
    const inFlight = server.socket.all("input").reduce((sum, { data }) => sum + data.length, 0);
    expect(inFlight).toBeLessThanOrEqual(128 * 1024);
  });

  test("without a connection is not kept for later, and that is told", () => {
    const { server, client, told } = stage();
    client.signal("INT");
    expect(told.error).toMatchObject([{ code: "not_connected" }]);
    client.start();
    server.socket.greet();
    expect(server.socket.all("signal")).toEqual([]);
  });
});

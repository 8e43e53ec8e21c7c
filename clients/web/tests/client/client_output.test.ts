// What the client makes of what arrives: positions, gaps, acknowledgements, nonsense.
import { describe, expect, test, vi } from "vitest";
import { createClient } from "../../src/client/index.ts";
import { attached, stage } from "./support/stage.ts";

describe("the first attach", () => {
  test("asks for the recent tail, as who we are", () => {
    const { client, server } = stage({ role: "viewer", mode: "live", tailBytes: 1000 });
    client.start();
    expect(server.socket.protocols).toEqual(["terminal.v1.msgpack"]);
    expect(server.socket.binaryType).toBe("arraybuffer");
    expect(server.socket.query).toEqual({ client_id: "me", role: "viewer", mode: "live", tail_bytes: "1000" });
  });

  test("or for a position of an epoch", () => {
    const { client, server } = stage({ from: 0, epoch: "e9" });
    client.start();
    expect(server.socket.query).toMatchObject({ recover_from: "0", epoch: "e9" });
  });

  test("is told before anything else, with the preamble of a tail", () => {
    const preamble = new Uint8Array([27, 99]);
    const { told, order, client } = attached({}, { seq: 10, head: 12, preamble });
    expect(order).toEqual(["state", "attached", "state"]);
    expect(told.attached[0]).toMatchObject({ recover: "tail", seq: 10, preamble });
    expect(client.state).toBe("open");
    expect(client.attached?.epoch).toBe("e1");
  });

  test("acknowledges at once, so that the service keeps to the window from the beginning", () => {
    const { server } = attached({}, { seq: 10, head: 5_000_000 });
    expect(server.socket.all("ack")).toEqual([{ type: "ack", seq: 10 }]);
  });

  test("of a client without a name makes one up that nobody else has", () => {
    const { WebSocket } = stage().server;
    const names = [1, 2].map(() => createClient({ url: "ws://host/t", WebSocket }).clientId);
    expect(names[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(names[0]).not.toBe(names[1]);
  });
});

describe("output", () => {
  test("is given as it comes, with its position", () => {
    const { server, told } = attached();
    server.socket.output("old", 3, true).output("new", 6).say({ type: "replay_end", seq: 3, sha256: "x" });
    expect(told.output.map(({ data, seq, replay }) => [Buffer.from(data).toString(), seq, replay])).toEqual([
      ["old", 3, true],
      ["new", 6, false],
    ]);
    expect(told.replayEnd).toEqual([{ seq: 3 }]);
  });

  test("that comes twice is given once", () => {
    const { server, text, told } = attached();
    server.socket.output("abc", 3).output("abc", 3).output("cd", 4);
    expect(text()).toBe("abcd");
    expect(told.error).toEqual([]);
  });

  test("with a hole before it is asked for again, never passed over", () => {
    const { server, clock, text, told } = attached();
    server.socket.output("abc", 3).output("x", 9);
    expect(text()).toBe("abc");
    expect(told.error).toMatchObject([{ code: "protocol" }]);
    expect(server.socket.closedWith).not.toBeNull();
    clock.advance(10_000);
    expect(server.socket.query).toMatchObject({ recover_from: "3", epoch: "e1" });
    server.socket.greet({ recover: "exact", seq: 3, head: 9 }).output("defghx", 9);
    expect(text()).toBe("abcdefghx");
  });

  test("of which one message cannot be read is asked for again too", () => {
    const { server, clock, text, told } = attached();
    server.socket.output("abc", 3).say({ type: "output", data: "text", seq: 4, replay: false }).output("e", 5);
    clock.advance(10_000);
    server.socket.greet({ recover: "exact", seq: 3, head: 5 }).output("de", 5);
    expect(text()).toBe("abcde");
    expect(told.error.map(({ code }) => code)).toEqual(["malformed", "protocol"]);
  });

  test("of a connection that was given up is heard no more", () => {
    const { server, client, text } = attached();
    const old = server.socket;
    client.reconnect();
    old.output("abc", 3);
    old.end(4403, "no");
    expect(text()).toBe("");
    expect(client.state).toBe("connecting");
  });
});

describe("coming back", () => {
  test("goes on from what was received, though it is not rendered yet", () => {
    const { server, clock, client, text } = attached();
    server.socket.output("abc", 3);
    client.rendered(1);
    server.socket.end();
    clock.advance(250);
    expect(server.socket.query).toMatchObject({ recover_from: "3", epoch: "e1" });
    server.socket.greet({ recover: "exact", seq: 3, head: 3 }).output("d", 4);
    client.rendered(3); // what its queue still had
    expect(text()).toBe("abcd");
  });

  test("at once after an attach goes on from there", () => {
    const { server, clock } = attached({}, { seq: 77, head: 100 });
    server.socket.end();
    clock.advance(250);
    expect(server.socket.query).toMatchObject({ recover_from: "77" });
  });

  test("to something else than was asked for is not accepted", () => {
    const { server, clock, told } = attached();
    server.socket.output("abc", 3).end();
    clock.advance(250);
    server.socket.greet({ recover: "exact", seq: 2, head: 9 });
    expect(told.error).toMatchObject([{ code: "protocol" }]);
    expect(told.attached).toHaveLength(1);
    clock.advance(10_000);
    expect(server.socket.query).toMatchObject({ recover_from: "3" });
  });

  test("while the screen is megabytes behind waits for the screen", () => {
    const { server, clock, client, lastState } = attached();
    const megabyte = new Uint8Array(1024 * 1024);
    server.socket
      .output(megabyte, megabyte.length)
      .output("x", megabyte.length + 1)
      .end();
    clock.advance(60_000);
    expect(server.sockets).toHaveLength(1);
    expect(lastState()).toMatchObject({ state: "waiting", retryInMs: null });
    client.rendered(10);
    expect(server.sockets).toHaveLength(2);
  });
});

describe("a gap", () => {
  test("at an attach is told as one, with its preamble and not twice", () => {
    const { server, clock, told, order } = attached();
    server.socket.output("abc", 3).end();
    clock.advance(250);
    const preamble = new Uint8Array([27, 99]);
    server.socket.greet({ recover: "gap", seq: 10, first: 10, head: 12, lost_bytes: 7, preamble }).output("xy", 12);
    expect(told.attached[1]).not.toHaveProperty("preamble");
    expect(told.gap).toEqual([{ first: 3, last: 10, lostBytes: 7, reason: "trimmed", preamble }]);
    expect(order.slice(-4)).toEqual(["attached", "gap", "state", "output"]);
  });

  test("at the first attach is told too", () => {
    const { told } = attached({ from: 0 }, { recover: "gap", seq: 500, first: 500, head: 900, lost_bytes: 500 });
    expect(told.gap).toEqual([{ first: 0, last: 500, lostBytes: 500, reason: "trimmed" }]);
  });

  test("because the output was begun anew is another thing: positions begin anew", () => {
    const { server, clock, told, text } = attached({}, { seq: 1000, head: 1000 });
    server.socket.output("abc", 1003).end();
    clock.advance(250);
    server.socket.greet({ recover: "gap", seq: 0, head: 2, epoch: "e2", lost_bytes: 0 }).output("xy", 2);
    expect(told.gap).toEqual([{ first: 0, last: 0, lostBytes: 0, reason: "epoch" }]);
    expect(text()).toBe("abcxy");
    server.socket.end();
    clock.advance(250);
    expect(server.socket.query).toMatchObject({ recover_from: "2", epoch: "e2" });
  });

  test("in between is told, and output goes on behind it", () => {
    const { server, told, text, client } = attached();
    server.socket.output("abc", 3).say({ type: "gap", first: 3, last: 9, lost_bytes: 6, reason: "skipped" });
    server.socket.output("x", 10).say({ type: "gap", first: 10, last: 10, lost_bytes: 0, reason: "torn" });
    expect(told.gap.map(({ reason, lostBytes }) => [reason, lostBytes])).toEqual([
      ["skipped", 6],
      ["torn", 0],
    ]);
    expect(text()).toBe("abcx");
    client.rendered(10);
    expect(client.link.lagBytes).toBe(0);
  });

  test("that does not fit is not believed", () => {
    const { server, told } = attached();
    server.socket.say({ type: "gap", first: 5, last: 9, lost_bytes: 4, reason: "trimmed" });
    expect(told.gap).toEqual([]);
    expect(server.socket.closedWith).not.toBeNull();
  });
});

describe("acknowledgements", () => {
  test("are sent every 32 KiB, and at rest", () => {
    const { server, client, clock } = attached();
    const acks = () => server.socket.all("ack").map((ack) => "seq" in ack && ack.seq);
    for (let seq = 10_000; seq <= 70_000; seq += 10_000) {
      server.socket.output(new Uint8Array(10_000), seq);
      client.rendered(seq);
    }
    expect(acks()).toEqual([0, 40_000]);
    clock.advance(50);
    expect(acks()).toEqual([0, 40_000, 70_000]);
    clock.advance(10_000);
    expect(acks()).toHaveLength(3);
  });

  test("leave no timer behind, nor are sent where nobody hears them", () => {
    const { server, client, clock } = attached();
    server.socket.output("abc", 3);
    client.rendered(3);
    client.stop();
    clock.advance(1_000);
    expect(clock.timers).toBe(0);
    expect(server.socket.all("ack")).toHaveLength(1);
  });

  test("go on after a reconnect", () => {
    const { server, client, clock } = attached();
    server.socket.output("abc", 3).end();
    client.rendered(2);
    clock.advance(250);
    server.socket.greet({ recover: "exact", seq: 3, head: 3 });
    client.rendered(3);
    server.socket.output("d", 4);
    client.rendered(4);
    clock.advance(50);
    expect(server.socket.all("ack")).toEqual([
      { type: "ack", seq: 3 },
      { type: "ack", seq: 4 },
    ]);
  });
});

describe("nonsense", () => {
  test("is an error event and changes nothing", () => {
    const { server, told, text } = attached();
    server.socket.saySomething("text").saySomething(new ArrayBuffer(0)).saySomething(undefined);
    server.socket
      .saySomething(new Uint8Array([0xc1]).buffer)
      .say({ type: "input_ack", n: 99 })
      .say({ type: "attached" });
    server.socket.output("abc", 3);
    expect(told.error.map(({ code }) => code)).toEqual([
      "malformed",
      "malformed",
      "malformed",
      "malformed",
      "protocol",
      "malformed",
    ]);
    expect(text()).toBe("abc");
  });

  test("types that are not known are let pass", () => {
    const { server, told } = attached();
    server.socket.say({ type: "of_the_future" });
    expect(told.error).toEqual([]);
  });

  test("output before the greeting, and a second greeting, are refused", () => {
    const { server, client, told, text } = stage();
    client.start();
    server.socket.open().output("abc", 3).greet().greet().output("x", 1);
    expect(told.error.map(({ code }) => code)).toEqual(["protocol", "protocol"]);
    expect(told.attached).toHaveLength(1);
    expect(text()).toBe("x");
  });

  test("another protocol is refused", () => {
    const { server, client, lastState } = stage();
    client.start();
    server.socket.open("");
    expect(lastState()).toMatchObject({ state: "refused", reason: expect.stringContaining("terminal.v1.msgpack") });
  });
});

describe("what is only told", () => {
  test("comes in the words of the events", () => {
    const { server, told } = attached();
    const viewer = { client_id: "a", user: "ann", role: "owner", rows: null, cols: 80, position: 0 };
    server.socket
      .say({ type: "resize", rows: 50, cols: 200, seq: 7, client_id: "" })
      .say({ type: "heartbeat", session_id: "s", seq: 7, expires_at: 1_700_000_000.5, viewers: 2 })
      .say({ type: "viewers", viewers: [viewer], responder: "a" })
      .say({ type: "flow_pause", bytes: 5 })
      .say({ type: "flow_resume", bytes: 6 })
      .say({ type: "storage", durable: false, reason: "full" })
      .say({ type: "draining", deadline: 1_700_000_000.5 })
      .say({ type: "draining", deadline: null })
      .say({ type: "notice", kind: "link_lost", message: "lost", seq: 7, timestamp: 1_700_000_000.5 })
      .say({ type: "notice", kind: "odd", message: "", seq: 7, timestamp: 1, fields: { a: [1] } })
      .say({ type: "of a later service", seq: 7 })
      .say({ type: "error", code: "invalid_message", error: "rows: no" });
    expect(told.resize).toEqual([{ rows: 50, cols: 200, seq: 7, clientId: null }]);
    expect(told.heartbeat).toEqual([{ expiresAt: 1_700_000_000_500, viewers: 2 }]);
    expect(told.viewers).toEqual([{ viewers: [viewer], responder: "a" }]);
    expect(told.flow).toEqual([
      { paused: true, bytes: 5 },
      { paused: false, bytes: 6 },
    ]);
    expect(told.storage).toEqual([{ durable: false, reason: "full" }]);
    expect(told.draining).toEqual([{ deadline: 1_700_000_000_500 }, { deadline: null }]);
    expect(told.notice).toEqual([
      { kind: "link_lost", message: "lost", seq: 7, at: 1_700_000_000_500, fields: {} },
      { kind: "odd", message: "", seq: 7, at: 1000, fields: { a: [1] } },
    ]);
    expect(told.error).toEqual([{ code: "invalid_message", message: "rows: no" }]);
  });

  test("the lag is what the service has and the screen has not", () => {
    const { server, client, told } = attached({ mode: "frozen" }, { seq: 0, head: 100 });
    expect(client.link).toEqual({ rttMs: null, lagBytes: 100, mode: "frozen" });
    server.socket.say({ type: "heartbeat", session_id: "s", seq: 3_000_000, expires_at: null, viewers: 1 });
    expect(told.link.at(-1)).toMatchObject({ lagBytes: 3_000_000 });
  });

  test("under a flood the link is told a few times a second", () => {
    const { server, client, clock, told } = attached({}, { head: 100_000_000 });
    for (let seq = 65_536; seq < 65_536 * 1000; seq += 65_536) {
      server.socket.output(new Uint8Array(65_536), seq);
      client.rendered(seq);
      clock.advance(1);
    }
    expect(told.link.length).toBeLessThan(10);
    expect(told.link.length).toBeGreaterThan(2);
  });
});

describe("listeners", () => {
  test("that throw stop neither others nor the client", () => {
    const { server, client, told } = attached();
    const uncaught: unknown[] = [];
    const report = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((callback) => {
      try {
        callback();
      } catch (error) {
        uncaught.push(error);
      }
    });
    client.on("output", () => {
      throw new Error("mine");
    });
    let heard = 0;
    client.on("output", () => {
      heard += 1;
    });
    server.socket.output("a", 1).output("b", 2);
    report.mockRestore();
    expect(heard).toBe(2);
    expect(told.output).toHaveLength(2);
    expect(uncaught).toEqual([new Error("mine"), new Error("mine")]);
  });

  test("can be taken away, also by themselves", () => {
    const { server, client } = attached();
    let heard = 0;
    const off = client.on("output", () => {
      heard += 1;
      off();
    });
    server.socket.output("a", 1).output("b", 2);
    expect(heard).toBe(1);
  });

  test("may stop the client wherever they are", () => {
    for (const name of ["attached", "state", "output", "gap", "input", "link", "error"] as const) {
      const { server, client, clock } = stage({ from: 0 });
      client.on(name, () => client.stop());
      client.send("x");
      client.start();
      if (server.sockets.length > 0) {
        const { socket } = server;
        socket.greet({ recover: "gap", seq: 5, first: 5, head: 9, lost_bytes: 5 });
        if (socket.closedWith === null) socket.output("abc", 8);
        if (socket.closedWith === null) client.setMode("live");
        if (socket.closedWith === null) client.send("y");
        if (socket.closedWith === null) socket.output("z", 1_000);
      }
      expect(client.state).toBe("idle");
      clock.advance(60_000);
      expect(clock.timers).toBe(0);
      expect(server.sockets.length).toBeLessThanOrEqual(1);
    }
  });
});

// Coming, going, coming back: the client's states.
import { describe, expect, test } from "vitest";
import { attached, settle, stage } from "./support/stage.ts";

describe("a lost connection", () => {
  test("is tried again nearly at once, then with growing, random delays", () => {
    const { server, clock, client, lastState } = attached();
    clock.chance = () => 0.999;
    server.socket.end(1006);
    expect(lastState()).toMatchObject({ state: "waiting", attempt: 1, code: 1006 });
    expect(lastState()?.retryInMs).toBeLessThan(250);
    const delays: number[] = [];
    for (let attempt = 0; attempt < 9; attempt += 1) {
      clock.advance(10_000);
      expect(client.state).toBe("connecting");
      server.socket.end(1006); // the handshake was refused: a browser says no more
      delays.push(Math.round(lastState()?.retryInMs ?? 0));
    }
    expect(delays).toEqual([500, 999, 1998, 3996, 7992, 9990, 9990, 9990, 9990]);
  });

  test("begins to count anew once a connection has carried something", () => {
    const { server, clock, lastState } = attached();
    clock.chance = () => 0.999;
    for (let attempt = 0; attempt < 5; attempt += 1) {
      server.socket.end();
      clock.advance(10_000);
    }
    server.socket.greet({ recover: "exact" }).end(); // greeted and dropped is no success
    expect(lastState()?.retryInMs).toBeGreaterThan(7_000);
    clock.advance(10_000);
    server.socket.greet({ recover: "exact" }).output("x", 1).end();
    expect(lastState()?.retryInMs).toBeLessThan(250);
  });

  test("of a silent handshake is given up", () => {
    const { server, clock, client, lastState } = stage();
    client.start();
    clock.advance(15_000);
    expect(server.socket.closedWith).not.toBeNull();
    expect(lastState()).toMatchObject({ state: "waiting", reason: "no answer" });
    clock.advance(250);
    server.socket.open();
    clock.advance(15_000); // opened, and never greeted
    expect(client.state).toBe("waiting");
  });

  test("that nobody told of is found out by asking", () => {
    const { server, clock, client } = attached();
    const pings = () => server.socket.all("ping");
    expect(pings()).toHaveLength(1);
    server.socket.say({ type: "pong", timestamp: pings()[0]?.timestamp ?? 0 });
    clock.advance(15_000);
    expect(pings()).toHaveLength(2);
    expect(client.state).toBe("open");
    clock.advance(11_000);
    expect(client.state).not.toBe("open");
    expect(server.sockets[0]?.closedWith).not.toBeNull();
  });

  test("is found out sooner by who types", () => {
    const { server, clock, client } = attached();
    server.socket.say({ type: "pong", timestamp: clock.now() });
    clock.advance(6_000);
    client.send("x");
    clock.advance(5_500);
    expect(client.state).not.toBe("open");
  });
});

describe("the round trip", () => {
  test("is measured with pings of our own, and the service's are answered", () => {
    const { server, clock, client, told } = attached();
    const sentAt = server.socket.all("ping")[0]?.timestamp ?? 0;
    clock.advance(30);
    server.socket.say({ type: "pong", timestamp: sentAt });
    expect(client.link.rttMs).toBe(30);
    expect(told.link.at(-1)).toMatchObject({ rttMs: 30 });
    server.socket.say({ type: "ping", timestamp: 1_700_000_000.25 });
    expect(server.socket.all("pong")).toEqual([{ type: "pong", timestamp: 1_700_000_000.25 }]);
  });
});

describe("a frozen page", () => {
  test("does not take a living link for dead, however late its timers are", () => {
    const { server, clock, client } = attached();
    for (let round = 0; round < 5; round += 1) {
      clock.freeze(120_000);
      expect(client.state).toBe("open");
      server.socket.say({ type: "pong", timestamp: server.socket.all("ping").at(-1)?.timestamp ?? 0 });
      clock.advance(1_000);
    }
    expect(server.sockets).toHaveLength(1);
  });

  test("whose link died in the meantime finds out soon after it woke", () => {
    const { server, clock, client, page } = attached();
    clock.freeze(120_000);
    page.wake();
    clock.advance(3_000);
    expect(server.sockets.length).toBeGreaterThan(1);
    expect(client.state).toBe("connecting");
  });
});

describe("a wake-up", () => {
  test("ends the waiting", () => {
    const { server, clock, client, page } = attached();
    clock.chance = () => 0.999;
    for (let attempt = 0; attempt < 7; attempt += 1) {
      server.socket.end();
      if (attempt < 6) clock.advance(10_000);
    }
    expect(client.state).toBe("waiting");
    const before = server.sockets.length;
    page.wake();
    expect(server.sockets).toHaveLength(before + 1);
    clock.advance(10_000);
    expect(server.sockets).toHaveLength(before + 1); // and the old plan is forgotten
  });

  test("leaves a fresh attempt alone, and gives up one that hangs", () => {
    const { server, clock, client, page } = stage();
    client.start();
    page.wake();
    expect(server.sockets).toHaveLength(1);
    clock.advance(5_000);
    page.wake();
    expect(server.sockets).toHaveLength(2);
    expect(server.sockets[0]?.closedWith).not.toBeNull();
  });

  test("asks a connection that seems to be there, and believes its answer", () => {
    const { server, clock, client, page } = attached();
    server.socket.say({ type: "pong", timestamp: clock.now() });
    clock.advance(5_000);
    page.wake();
    expect(server.socket.all("ping")).toHaveLength(2);
    server.socket.say({ type: "pong", timestamp: clock.now() });
    clock.advance(8_000);
    expect(client.state).toBe("open");
  });

  test("does nothing to who has left, ended or was refused: no war of two tabs", () => {
    const superseded = attached();
    superseded.server.socket.end(4409, "superseded");
    expect(superseded.client.state).toBe("refused");
    superseded.page.wake();
    superseded.clock.advance(3_600_000);
    expect(superseded.server.sockets).toHaveLength(1);
    expect(superseded.page.isWatched).toBe(false);
    superseded.client.reconnect(); // only the user brings it back
    expect(superseded.server.sockets).toHaveLength(2);
    expect(superseded.page.isWatched).toBe(true);
  });
});

describe("a page that is left", () => {
  test("has no connection, and has one again when it comes back", () => {
    const { server, clock, page, lastState } = attached();
    server.socket.output("abc", 3);
    page.sleep();
    expect(server.socket.closedWith).not.toBeNull();
    expect(lastState()).toMatchObject({ state: "waiting", retryInMs: null });
    clock.freeze(600_000);
    expect(server.sockets).toHaveLength(1);
    page.wake();
    expect(server.socket.query).toMatchObject({ recover_from: "3" });
  });

  test("that was not connected stays so", () => {
    const { page, client, server } = stage();
    client.start();
    client.stop();
    page.sleep();
    page.wake();
    expect(client.state).toBe("idle");
    expect(server.sockets).toHaveLength(1);
  });
});

describe("close codes", () => {
  test.each([4400, 4401, 4403, 4404, 4409, 1008])("%d is final, and says why", (code) => {
    const { server, clock, client, lastState } = attached();
    server.socket.end(code, "because");
    expect(lastState()).toEqual({ state: "refused", attempt: 0, retryInMs: null, code, reason: "because" });
    clock.advance(3_600_000);
    expect(server.sockets).toHaveLength(1);
    expect(clock.timers).toBe(0);
    expect(client.send("x")).toBe(false);
  });

  test("4410 is the end, also where nobody can say how it was", () => {
    const { server, client, told } = stage();
    client.start();
    server.socket.open().end(4410, "session ended");
    expect(client.state).toBe("ended");
    expect(told.ended).toEqual([{ reason: "session ended", exitCode: null, signal: null, message: "" }]);
    client.reconnect();
    client.start();
    expect(server.sockets).toHaveLength(1);
  });

  test("4410 after the end was told is no second end", () => {
    const { server, told } = attached();
    server.socket.say({ type: "session_ended", reason: "exited", exit_code: 0, signal: null, pid: 1 });
    server.socket.end(4410, "session ended");
    expect(told.ended).toHaveLength(1);
    expect(told.state.map(({ state }) => state)).toEqual(["connecting", "open", "ended"]);
  });

  test("1012 waits as told, whatever wakes up", () => {
    const { server, clock, client, page, lastState } = attached();
    clock.chance = () => 0;
    server.socket.end(1012, "service restart; retry_after_ms=750");
    expect(lastState()).toMatchObject({ state: "waiting", retryInMs: 750, code: 1012 });
    clock.advance(300);
    page.wake();
    clock.advance(449);
    expect(server.sockets).toHaveLength(1);
    clock.advance(1);
    expect(server.sockets).toHaveLength(2);
    expect(client.state).toBe("connecting");
  });

  test("4429 comes back, not soon", () => {
    const { server, clock, lastState } = attached();
    clock.chance = () => 0.999;
    server.socket.end(4429, "too many viewers");
    expect(lastState()?.retryInMs).toBeGreaterThan(3_000);
  });
});

describe("leaving", () => {
  test("says so, and is not followed by anything", () => {
    const { server, clock, client } = attached();
    client.stop();
    expect(server.socket.heard.at(-1)).toEqual({ type: "detach" });
    expect(server.socket.closedWith).toMatchObject({ code: 1000 });
    expect(client.state).toBe("idle");
    clock.advance(3_600_000);
    expect(clock.timers).toBe(0);
  });

  test("keeps what a later start goes on with", () => {
    const { server, client } = attached();
    server.socket.output("abc", 3);
    client.send("x");
    client.stop();
    client.stop();
    client.start();
    client.start();
    expect(server.sockets).toHaveLength(2);
    server.socket.greet({ recover: "exact", seq: 3, head: 3 });
    expect(server.socket.query).toMatchObject({ recover_from: "3" });
    expect(server.socket.typed).toEqual(["1:x"]);
  });

  test("asked for by the service is idleness", () => {
    const { server, clock, client } = attached();
    server.socket.end(1000, "detached");
    clock.advance(3_600_000);
    expect(client.state).toBe("idle");
    expect(server.sockets).toHaveLength(1);
  });
});

describe("reconnect", () => {
  test("does not wait, and leaves no other attempt behind", () => {
    const { server, clock, client } = attached();
    server.socket.end();
    client.reconnect();
    expect(server.sockets).toHaveLength(2);
    clock.advance(1_000);
    expect(server.sockets).toHaveLength(2);
    client.reconnect();
    expect(server.sockets[1]?.closedWith).not.toBeNull();
    server.sockets[1]?.end(4403);
    expect(client.state).toBe("connecting");
  });
});

describe("a ticket", () => {
  test("is asked for before every connection", async () => {
    let given = 0;
    const { server, clock, client } = stage({ ticket: async () => `t${++given}` });
    client.start();
    expect(server.sockets).toHaveLength(0);
    await settle();
    expect(server.socket.query).toMatchObject({ ticket: "t1" });
    server.socket.greet().end();
    clock.advance(250);
    await settle();
    expect(server.socket.query).toMatchObject({ ticket: "t2" });
  });

  test("that is not needed is left out", async () => {
    const { server, client } = stage({ ticket: async () => null });
    client.start();
    await settle();
    expect(server.socket.query).not.toHaveProperty("ticket");
  });

  test("that is not given is asked for again, with patience", async () => {
    let asked = 0;
    const ticket = async () => {
      asked += 1;
      throw new Error("offline");
    };
    const { server, clock, client, told } = stage({ ticket });
    client.start();
    await settle();
    expect(told.error).toEqual([{ code: "ticket", message: "offline" }]);
    expect(client.state).toBe("waiting");
    clock.advance(250);
    await settle();
    expect(asked).toBe(2);
    expect(server.sockets).toHaveLength(0);
  });

  test("that is missed may be the reason to stop", async () => {
    const { clock, client } = stage({ ticket: () => Promise.reject(new Error("offline")) });
    client.on("error", () => client.stop());
    client.start();
    await settle();
    expect(client.state).toBe("idle");
    expect(clock.timers).toBe(0);
  });

  test("that never comes, or throws at once, is no end either", async () => {
    const hanging = stage({ ticket: () => new Promise(() => {}) });
    hanging.client.start();
    await settle();
    hanging.clock.advance(15_000);
    expect(hanging.client.state).toBe("waiting");
    const throwing = stage({
      ticket: () => {
        throw new Error("bug");
      },
    });
    throwing.client.start();
    await settle();
    expect(throwing.told.error).toEqual([{ code: "ticket", message: "bug" }]);
  });

  test("that comes too late is not used", async () => {
    let give = (_: string) => {};
    const { server, client } = stage({
      ticket: () =>
        new Promise((resolve) => {
          give = resolve;
        }),
    });
    client.start();
    await settle();
    client.stop();
    give("late");
    await settle();
    expect(server.sockets).toHaveLength(0);
    expect(client.state).toBe("idle");
  });
});

describe("what cannot work", () => {
  test("is told when the client is made", () => {
    expect(() => stage({ url: "nonsense" })).toThrow(TypeError);
  });

  test("or when the page forbids the connection", () => {
    const Forbidden = class {
      constructor() {
        throw new Error("insecure");
      }
    } as never;
    const { client, lastState, clock } = stage({ WebSocket: Forbidden });
    client.start();
    expect(lastState()).toMatchObject({ state: "refused", reason: "insecure" });
    expect(clock.timers).toBe(0);
  });
});

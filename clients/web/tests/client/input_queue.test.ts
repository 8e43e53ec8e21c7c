import { beforeEach, describe, expect, test } from "vitest";
import { InputQueue, MESSAGE_BYTES, WINDOW_BYTES } from "../../src/client/input_queue.ts";

const LIMIT = 1024 * 1024;
const CTRL_C = new Uint8Array([3]);
const bytes = (text: string) => new TextEncoder().encode(text);

let queue: InputQueue;

/** Everything that would be sent now, as "number:text". */
function sendAll(): string[] {
  const sent: string[] = [];
  for (let item = queue.next(); item !== null; item = queue.next()) sent.push(`${item.n}:${Buffer.from(item.data)}`);
  return sent;
}

function type(...texts: string[]): void {
  for (const text of texts) expect(queue.push(bytes(text))).toBe(true);
}

/** How many bytes would be sent now, and the largest message among them. */
function sendBytes(): { sum: number; largest: number; last: number } {
  const told = { sum: 0, largest: 0, last: 0 };
  for (let item = queue.next(); item !== null; item = queue.next()) {
    told.sum += item.data.length;
    told.largest = Math.max(told.largest, item.data.length);
    told.last = item.n;
  }
  return told;
}

beforeEach(() => {
  queue = new InputQueue(LIMIT);
  queue.begin(0);
});

describe("numbers", () => {
  test("count from one, in the order typed", () => {
    type("a");
    expect(sendAll()).toEqual(["1:a"]);
    type("b");
    expect(sendAll()).toEqual(["2:b"]);
  });

  test("go on where an earlier client of this id ended, also for what was typed before", () => {
    queue = new InputQueue(LIMIT);
    type("early");
    expect(queue.begin(7)).toBe(0);
    expect(sendAll()).toEqual(["8:early"]);
  });

  test("keep their content for ever, once sent", () => {
    type("a");
    sendAll();
    type("b");
    queue.begin(0);
    type("c");
    expect(sendAll()).toEqual(["1:a", "2:bc"]);
  });
});

describe("acknowledgement", () => {
  test("frees what it names and everything before", () => {
    type("a");
    sendAll();
    type("bb");
    sendAll();
    expect(queue.pendingBytes).toBe(3);
    expect(queue.acknowledge(2)).toBe(true);
    expect(queue.pendingBytes).toBe(0);
    expect(queue.acknowledge(1)).toBe(true); // an older one, late
  });

  test("of what was never sent is refused", () => {
    type("a");
    expect(queue.acknowledge(1)).toBe(false);
    expect(queue.pendingBytes).toBe(1);
  });

  test("may come for what was sent on an earlier connection and not again yet", () => {
    type("a");
    sendAll();
    type("b");
    sendAll();
    queue.begin(2);
    expect(queue.acknowledge(1)).toBe(true);
    expect(sendAll()).toEqual(["2:b"]);
  });
});

describe("a new connection", () => {
  test("gets all that was not acknowledged, in order, with the same numbers", () => {
    type("a");
    sendAll();
    type("b");
    sendAll();
    queue.acknowledge(1);
    type("c");
    expect(queue.begin(1)).toBe(0);
    expect(sendAll()).toEqual(["2:b", "3:c"]);
  });

  test("gets again what is taken and not yet written: only what is written is safe", () => {
    type("a");
    sendAll();
    expect(queue.begin(1)).toBe(0);
    expect(sendAll()).toEqual(["1:a"]);
  });

  test("of a service that has forgotten us gets what was never sent, under its numbers, and not what may be typed", () => {
    type("a");
    sendAll();
    queue.acknowledge(1);
    type("risky");
    sendAll();
    type("safe");
    expect(queue.begin(0)).toBe(5);
    expect(sendAll()).toEqual(["1:safe"]);
    expect(queue.pendingBytes).toBe(4);
  });

  test("of a service that has taken more than we sent: somebody else typed under our id", () => {
    type("mine");
    sendAll();
    expect(queue.begin(5)).toBe(4);
    type("next");
    expect(sendAll()).toEqual(["6:next"]);
  });

  test("of a service that has forgotten us loses nothing when nothing was on its way", () => {
    type("a");
    sendAll();
    queue.acknowledge(1);
    type("b");
    expect(queue.begin(0)).toBe(0);
    expect(sendAll()).toEqual(["1:b"]);
  });
});

describe("size", () => {
  test("a paste goes in messages of a bounded size, byte for byte", () => {
    const paste = Uint8Array.from({ length: 100_000 }, (_, index) => index);
    queue.push(paste);
    const parts: Uint8Array[] = [];
    for (let item = queue.next(); item !== null; item = queue.next()) {
      expect(item.data.length).toBeLessThanOrEqual(MESSAGE_BYTES);
      parts.push(item.data);
    }
    expect(Buffer.concat(parts).equals(paste)).toBe(true);
  });

  test("what is taken is a copy", () => {
    const data = bytes("abc");
    queue.push(data);
    data.fill(0);
    expect(sendAll()).toEqual(["1:abc"]);
  });

  test("what waits is bounded: too much is refused whole", () => {
    expect(queue.push(new Uint8Array(LIMIT))).toBe(true);
    expect(queue.push(bytes("x"))).toBe(false);
    expect(queue.pendingBytes).toBe(LIMIT);
    sendBytes();
    queue.acknowledge(1);
    expect(queue.push(bytes("x"))).toBe(true);
  });

  test("keys typed while offline are joined, and refill no memory for each", () => {
    queue = new InputQueue(LIMIT);
    for (let index = 0; index < 50_000; index += 1) type("k");
    queue.begin(0);
    const { sum, last } = sendBytes();
    expect(sum).toBe(50_000);
    expect(last).toBe(Math.ceil(50_000 / MESSAGE_BYTES));
  });

  test("keys without end in front of a program that reads nothing are bounded too", () => {
    let count = 0;
    while (queue.push(CTRL_C)) count += 1;
    expect(count).toBeLessThan(20_000);
  });

  test("nothing is nothing", () => {
    expect(queue.push(new Uint8Array(0))).toBe(true);
    expect(queue.next()).toBeNull();
  });
});

describe("the window", () => {
  test("holds back what is not soon through, and opens with every acknowledgement", () => {
    queue.push(new Uint8Array(300_000));
    expect(sendBytes().sum).toBe(WINDOW_BYTES);
    queue.acknowledge(1);
    expect(sendBytes().sum).toBe(MESSAGE_BYTES);
  });

  test("counts tiny inputs as the service does, so that it never stops to read", () => {
    let sent = 0;
    for (let index = 0; index < 5_000; index += 1) {
      type("k");
      sent += sendAll().length;
    }
    expect(sent).toBe(WINDOW_BYTES / 512);
  });

  test("is as wide on the next connection", () => {
    queue.push(new Uint8Array(300_000));
    sendBytes();
    queue.begin(0);
    expect(sendBytes().sum).toBe(WINDOW_BYTES);
  });

  test("keeps its width over any number of acknowledgements", () => {
    queue.push(new Uint8Array(600_000));
    let { last } = sendBytes();
    for (let n = 1; n <= last; n += 1) {
      queue.acknowledge(n);
      const more = sendBytes();
      if (more.last > 0) last = more.last;
    }
    expect(queue.pendingBytes).toBe(0);
    queue.push(new Uint8Array(300_000));
    expect(sendBytes().sum).toBe(WINDOW_BYTES);
  });
});

describe("a Ctrl-C", () => {
  test("stands alone, or the service would not act on it at once", () => {
    queue = new InputQueue(LIMIT);
    type("a", "b");
    queue.push(CTRL_C);
    queue.push(CTRL_C);
    type("c", "d");
    queue.begin(0);
    expect(sendAll()).toEqual(["1:ab", "2:\x03", "3:\x03", "4:cd"]);
  });

  test("does not wait for a program that reads nothing: it takes along what is before it", () => {
    queue.push(new Uint8Array(300_000));
    sendBytes();
    queue.push(CTRL_C);
    type("after");
    expect(queue.isUrgent).toBe(true);
    const { sum, last } = sendBytes();
    expect(sum).toBe(300_000 - WINDOW_BYTES + 1);
    expect(queue.isUrgent).toBe(false);
    queue.acknowledge(last);
    expect(sendAll()).toEqual([expect.stringMatching(/:after$/)]);
  });

  test("that was sent before a cut is urgent again after it", () => {
    queue.push(new Uint8Array(300_000));
    queue.push(CTRL_C);
    sendBytes();
    queue.begin(0);
    expect(queue.isUrgent).toBe(true);
    expect(sendBytes().sum).toBe(300_001);
  });

  test("that is acknowledged before it was sent again is urgent no more", () => {
    queue.push(new Uint8Array(300_000));
    queue.push(CTRL_C);
    const { last } = sendBytes();
    queue.begin(0);
    queue.acknowledge(last);
    expect(queue.isUrgent).toBe(false);
    expect(queue.pendingBytes).toBe(0);
  });
});

test("the end of the session gives up what waits, and says how much", () => {
  type("ab");
  sendAll();
  type("cde");
  expect(queue.clear()).toBe(5);
  expect(queue.pendingBytes).toBe(0);
  expect(sendAll()).toEqual([]);
});

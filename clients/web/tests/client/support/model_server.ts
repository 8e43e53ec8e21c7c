// A small service that keeps the promises of docs/protocol.md, over links that lose what is on its way.
import { decode, encode } from "@msgpack/msgpack";
import type { ClientMessage } from "../../../src/client/wire.ts";
import { FakeSocket, GREETING } from "./fake_server.ts";
import type { Random } from "./random.ts";

/** A socket whose messages take until they are delivered, in both directions. */
class Link extends FakeSocket {
  readonly up: Uint8Array[] = [];
  readonly down: Record<string, unknown>[] = [];
  isCut = false;

  override send(data: Uint8Array): void {
    if (!this.isCut) this.up.push(data.slice());
  }
}

/** What the service keeps of one connection. */
interface Viewer {
  link: Link;
  position: number;
  acked: number | null;
}

const WINDOW = 2_000;

/** One terminal and one client of it. */
export class ModelServer {
  readonly written: number[] = [];
  readonly printed: number[] = [];
  readonly WebSocket: new (
    url: string,
    protocols: string[],
  ) => Link;
  first = 0;
  epoch = 1;
  taken = 0;
  mostOutstanding = 0;
  #writtenN = 0;
  #queue: { n: number; data: Uint8Array }[] = [];
  #viewer: Viewer | null = null;
  #links: Link[] = [];
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
    const links = this.#links;
    this.WebSocket = class extends Link {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        links.push(this);
      }
    };
  }

  get link(): Link | undefined {
    return this.#links.at(-1);
  }

  get isQuiet(): boolean {
    const link = this.link;
    const isStill = link === undefined || link.readyState > 1 || link.up.length + link.down.length === 0;
    return isStill && this.#queue.length === 0;
  }

  // -- the network

  /** Something moves: a handshake, a message up, or one down. */
  move(): void {
    const link = this.link;
    if (link === undefined || link.isCut || link.readyState > 1) return;
    if (link.readyState === 0) {
      this.#finishOlder(link);
      link.open();
      this.#attach(link);
    } else if (link.down.length > 0 && (link.up.length === 0 || this.#random.chance(0.5))) {
      link.saySomething(encode(link.down.shift()).slice().buffer);
    } else {
      const data = link.up.shift();
      if (data !== undefined) this.#take(decode(data) as ClientMessage);
    }
  }

  /** The link breaks: what is on its way down is lost, of what is on its way up some arrives. */
  cut({ isTold }: { isTold: boolean }): void {
    const link = this.link;
    if (link === undefined || link.isCut || link.readyState > 1) return;
    this.#arriveSome(link);
    link.isCut = true;
    link.down.length = 0;
    this.#viewer = null;
    if (isTold) link.end();
  }

  /** Links that the client has closed: of what it had said, some has arrived by now, the rest never will. */
  #finishOlder(newest: Link): void {
    for (const link of this.#links) if (link !== newest && !link.isCut) this.#arriveSome(link);
    this.#links.splice(0, this.#links.length, newest);
  }

  #arriveSome(link: Link): void {
    const arrives = this.#random.between(0, link.up.length);
    for (const data of link.up.splice(0).slice(0, arrives)) this.#take(decode(data) as ClientMessage);
  }

  // -- the terminal

  print(data: Uint8Array): void {
    for (const byte of data) this.printed.push(byte);
    this.#pump();
  }

  /** The program reads some of what was typed. */
  read(count: number): void {
    for (const { n, data } of this.#queue.splice(0, count)) {
      this.written.push(...data);
      this.#writtenN = n;
      this.#say({ type: "input_ack", n });
    }
  }

  /** The service is killed: what was taken and not written is gone, and so is the connection. */
  restart(): void {
    this.cut({ isTold: true });
    this.#queue = [];
    this.taken = this.#writtenN;
  }

  /** Old output is kept no longer. */
  trim(count: number): void {
    this.first = Math.min(this.printed.length, this.first + count);
  }

  #attach(link: Link): void {
    const { recover_from: asked, epoch } = link.query;
    const wanted = Number(asked ?? this.first);
    const isKnown = epoch === undefined || epoch === String(this.epoch);
    if (isKnown && wanted > this.printed.length) {
      link.end(4400, "recover_from");
      return;
    }
    const recover = isKnown && wanted >= this.first ? "exact" : "gap";
    const seq = recover === "exact" ? wanted : this.first;
    const lost = isKnown ? seq - wanted : seq;
    this.#viewer = { link, position: seq, acked: null };
    this.#say({
      ...{ type: "attached", ...GREETING, recover, seq, head: this.printed.length, first: this.first, window: WINDOW },
      ...{ epoch: String(this.epoch), input_n: this.taken, ...(recover === "gap" && { lost_bytes: lost }) },
    });
    this.#pump();
  }

  #take(message: ClientMessage): void {
    const viewer = this.#viewer;
    if (message.type === "ping") this.#say({ type: "pong", timestamp: message.timestamp });
    if (message.type === "input") this.#type(message.n ?? 0, message.data);
    if (message.type === "ack" && "seq" in message && viewer !== null) {
      viewer.acked = Math.max(viewer.acked ?? 0, Math.min(message.seq, viewer.position));
      this.#pump();
    }
  }

  #type(n: number, data: Uint8Array): void {
    if (n <= this.taken) {
      if (this.#writtenN > 0) this.#say({ type: "input_ack", n: this.#writtenN });
    } else if (n === this.taken + 1) {
      this.taken = n;
      this.#queue.push({ n, data });
    } else this.#say({ type: "error", code: "input_out_of_order", error: "n", expected: this.taken + 1 });
  }

  #pump(): void {
    const viewer = this.#viewer;
    if (viewer === null) return;
    while (viewer.position < this.printed.length) {
      const open = viewer.acked === null ? WINDOW : WINDOW - (viewer.position - viewer.acked);
      if (open <= 0) return;
      if (viewer.position < this.first) {
        this.#say({
          type: "gap",
          first: viewer.position,
          last: this.first,
          lost_bytes: this.first - viewer.position,
          reason: "trimmed",
        });
        viewer.position = this.first;
        viewer.acked = viewer.acked === null ? null : this.first;
      }
      const end = Math.min(this.printed.length, viewer.position + Math.min(open, this.#random.between(1, 700)));
      const data = Uint8Array.from(this.printed.slice(viewer.position, end));
      if (data.length === 0) return;
      viewer.position = end;
      if (viewer.acked !== null) this.mostOutstanding = Math.max(this.mostOutstanding, end - viewer.acked);
      this.#say({ type: "output", data, seq: end, replay: false });
    }
  }

  #say(message: Record<string, unknown>): void {
    this.#viewer?.link.down.push({ timestamp: 1.5, ...message });
  }
}

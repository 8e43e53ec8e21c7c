// A scripted service: the other end of every WebSocket that the client makes.
import { decode, encode } from "@msgpack/msgpack";
import type { Attached, WebSocketLike } from "../../../src/client/index.ts";
import { type ClientMessage, SUBPROTOCOL } from "../../../src/client/wire.ts";

export const GREETING: Attached = {
  session_id: "s",
  terminal_id: "main",
  client_id: "me",
  role: "writer",
  mode: "exact",
  recover: "tail",
  seq: 0,
  head: 0,
  first: 0,
  epoch: "e1",
  rows: 24,
  cols: 80,
  window: 262_144,
  heartbeat_interval: 60,
  input_n: 0,
};

export class FakeSocket implements WebSocketLike {
  binaryType = "";
  readyState = 0;
  bufferedAmount = 0;
  protocol = "";
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly heard: ClientMessage[] = [];
  closedWith: { code: number | undefined; reason: string | undefined } | null = null;
  readonly url: URL;

  constructor(
    url: string,
    readonly protocols: string[],
  ) {
    this.url = new URL(url);
  }

  get query(): Record<string, string> {
    return Object.fromEntries(this.url.searchParams);
  }

  send(data: Uint8Array): void {
    this.heard.push(decode(data.slice()) as ClientMessage);
  }

  close(code?: number, reason?: string): void {
    this.closedWith ??= { code, reason };
    this.readyState = 2;
  }

  /** The handshake succeeds. */
  open(protocol: string = SUBPROTOCOL): this {
    this.readyState = 1;
    this.protocol = protocol;
    (this.onopen as (event: object) => void)({});
    return this;
  }

  /** The handshake succeeds and the client is attached. */
  greet(fields: Partial<Attached> = {}): this {
    if (this.readyState === 0) this.open();
    return this.say({ type: "attached", ...GREETING, ...fields });
  }

  say(message: Record<string, unknown>): this {
    return this.saySomething(encode({ timestamp: 1.5, ...message }).slice().buffer);
  }

  output(text: string | Uint8Array, seq: number, replay = false): this {
    return this.say({ type: "output", data: typeof text === "string" ? Buffer.from(text) : text, seq, replay });
  }

  /** Anything at all, as the data of a frame. */
  saySomething(data: unknown): this {
    (this.onmessage as (event: { data: unknown }) => void)({ data });
    return this;
  }

  /** The connection ends. */
  end(code = 1006, reason = ""): void {
    this.readyState = 3;
    (this.onclose as (event: object) => void)({ code, reason, wasClean: code !== 1006 });
  }

  /** What the client said of one type. */
  all<Type extends ClientMessage["type"]>(type: Type): Extract<ClientMessage, { type: Type }>[] {
    return this.heard.filter((message) => message.type === type) as Extract<ClientMessage, { type: Type }>[];
  }

  /** What the client typed, in the order it arrived. */
  get typed(): string[] {
    return this.all("input").map(({ n, data }) => `${n}:${Buffer.from(data)}`);
  }
}

/** All the sockets a client made. */
export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  readonly WebSocket: new (
    url: string,
    protocols: string[],
  ) => FakeSocket;

  constructor() {
    const { sockets } = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    };
  }

  /** The newest. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error("there is no connection");
    return socket;
  }
}

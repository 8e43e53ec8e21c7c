/** One WebSocket from its handshake to its end: frames become messages, silence becomes an end. */

import { ABNORMAL } from "./closes.ts";
import { Liveness, type Step } from "./liveness.ts";
import type { Clock, WebSocketLike } from "./types.ts";
import { type ClientMessage, decode, encode, type ServerMessage, SUBPROTOCOL, WireError } from "./wire.ts";

/** How long a handshake and the greeting after it may take. */
export const OPENING_MS = 15_000;
const OPEN = 1;

/** Who is told. Nothing is told after `closed`, which comes once, nor after `close` was called. */
export interface Watcher {
  message(message: ServerMessage): void;
  /** Something arrived that cannot be read; it was left out. */
  unreadable(what: string): void;
  /** The round trip was measured anew: milliseconds, smoothed. */
  measured(rttMs: number): void;
  closed(code: number, reason: string): void;
}

/** Answers pings, sends its own, and gives up a link that is silent though it was asked. */
export class Connection {
  readonly #socket: WebSocketLike;
  readonly #watcher: Watcher;
  readonly #clock: Clock;
  #liveness: Liveness | null = null;
  #timer: unknown;
  #isOver = false;

  /** Take a socket that was just made. */
  constructor(socket: WebSocketLike, watcher: Watcher, clock: Clock) {
    this.#socket = socket;
    this.#watcher = watcher;
    this.#clock = clock;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = (event: { data: unknown }) => this.#received(event.data);
    socket.onclose = (event: { code: number; reason: string }) => this.#end(event.code, event.reason);
    socket.onerror = () => {}; // says nothing that `onclose` does not say, but must be listened to in Node
    this.#timer = clock.setTimeout(() => this.#giveUp("no answer"), OPENING_MS);
  }

  /** How many bytes wait in this process for the network. */
  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Send, unless the socket is closing. */
  send(message: ClientMessage): void {
    if (this.#socket.readyState === OPEN) this.#socket.send(encode(message));
  }

  /** Something was typed: if the link has been silent, see whether it still lives. */
  typed(): void {
    if (this.#liveness !== null) this.#act(this.#liveness.typed(this.#clock.now()));
  }

  /** The page or the network woke up: see at once whether the link still lives. */
  probe(): void {
    if (this.#liveness !== null) this.#act(this.#liveness.woke(this.#clock.now()));
  }

  /** Close; nothing is told any more. Harmless twice. */
  close(code = 1000, reason = ""): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#clock.clearTimeout(this.#timer);
    this.#socket.close(code, reason);
  }

  #opened(): void {
    if (!this.#isOver && this.#socket.protocol !== SUBPROTOCOL) {
      this.#socket.close();
      this.#end(1008, `no ${SUBPROTOCOL} is spoken there`);
    }
  }

  #received(data: unknown): void {
    if (this.#isOver) return;
    const now = this.#clock.now();
    this.#liveness?.heard(now);
    const message = this.#read(data);
    if (message === null) return;
    if (message.type === "ping") this.send({ type: "pong", timestamp: message.timestamp });
    else if (message.type === "pong") this.#answered(message.timestamp, now);
    else {
      if (message.type === "attached" && this.#liveness === null) this.#watch(now);
      this.#watcher.message(message);
    }
  }

  #read(data: unknown): ServerMessage | null {
    try {
      if (!(data instanceof ArrayBuffer)) throw new WireError("not a binary frame");
      return decode(new Uint8Array(data));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#watcher.unreadable(error.message);
      return null;
    }
  }

  #watch(now: number): void {
    this.#liveness = new Liveness(now);
    this.#act(this.#liveness.tick(now));
  }

  #answered(sentAt: number, now: number): void {
    const rttMs = this.#liveness?.answered(sentAt, now) ?? null;
    if (rttMs !== null) this.#watcher.measured(rttMs);
  }

  #act(step: Step): void {
    if (this.#isOver || this.#liveness === null) return;
    const now = this.#clock.now();
    if (step === "dead") {
      this.#giveUp("the link is silent");
      return;
    }
    if (step === "ping") this.send({ type: "ping", timestamp: now });
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.#tick(), Math.max(0, this.#liveness.dueAt - now));
  }

  #tick(): void {
    if (this.#liveness !== null) this.#act(this.#liveness.tick(this.#clock.now()));
  }

  #giveUp(reason: string): void {
    this.#socket.close();
    this.#end(ABNORMAL, reason);
  }

  #end(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#clock.clearTimeout(this.#timer);
    this.#watcher.closed(code, reason);
  }
}

/** The protocol client: one terminal over as many connections as it takes. */

import { attachAddress, readAddress, type Start } from "./address.ts";
import { systemClock } from "./clock.ts";
import { Drain } from "./drain.ts";
import { Emitter } from "./emitter.ts";
import { InputQueue } from "./input_queue.ts";
import { Life } from "./life.ts";
import { Positions } from "./positions.ts";
import type {
  Attached,
  Clock,
  Events,
  Link,
  Mode,
  Options,
  Role,
  SignalName,
  State,
  TerminalClient,
  WebSocketLike,
} from "./types.ts";
import { pageWakeUps } from "./wake_ups.ts";
import { type ServerMessage, type ServerMessages, SUBPROTOCOL } from "./wire.ts";

const PENDING_LIMIT_BYTES = 1024 * 1024;
/** Above this no more input is given to the socket; the next acknowledgement goes on. */
const UNSENT_LIMIT_BYTES = 64 * 1024;
/** What is rendered is acknowledged after this at the latest, so that others see how far this screen is. */
const ACK_REST_MS = 50;
/** Received and not yet rendered: with more than this a new connection, which may bring a window more, waits. */
const UNRENDERED_LIMIT_BYTES = 1024 * 1024;
/** Lag changes with every message; this is how often it is told. */
const LINK_MS = 250;
const SIZE_LIMIT = 1000;

type Gap = Events["gap"];
type Ended = Events["ended"];

export class Client implements TerminalClient {
  readonly clientId: string;
  readonly #options: Options;
  readonly #role: Role;
  readonly #clock: Clock;
  readonly #life: Life;
  readonly #emitter = new Emitter<Events>();
  readonly #positions = new Positions();
  readonly #inputs: InputQueue;
  readonly #drain = new Drain();
  readonly #encoder = new TextEncoder();
  #attached: Attached | null = null;
  #epoch: string | null;
  #mode: Mode;
  #size: { rows: number; cols: number } | null = null;
  #rttMs: number | null = null;
  #linkToldAt = Number.NEGATIVE_INFINITY;
  #ackTimer: unknown = null;
  #isHeld = false;
  #ended: Ended | null = null;

  /** Throws TypeError for an address that is none, or where there is no WebSocket. */
  constructor(options: Options) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#role = options.role ?? "writer";
    this.#mode = options.mode ?? "exact";
    this.#epoch = options.epoch ?? null;
    this.#inputs = new InputQueue(options.maxPendingInputBytes ?? PENDING_LIMIT_BYTES);
    this.clientId = options.clientId ?? newClientId();
    this.#life = new Life({
      makeSocket: this.#socketMaker(),
      ticket: options.ticket ?? null,
      wakeUps: options.wakeUps ?? pageWakeUps,
      clock: this.#clock,
      isReady: () => this.#isReady(),
      take: (message) => this.#take(message),
      measured: (rttMs) => this.#measured(rttMs),
      became: (event) => this.#became(event),
      failed: (code, message) => this.#fail(code, message),
    });
  }

  get state(): State {
    return this.#life.state;
  }

  get attached(): Attached | null {
    return this.#attached;
  }

  get link(): Link {
    return { rttMs: this.#rttMs, lagBytes: this.#positions.lagBytes, mode: this.#mode };
  }

  get pendingInputBytes(): number {
    return this.#inputs.pendingBytes;
  }

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  start(): void {
    if (this.state === "idle") this.#life.begin();
  }

  reconnect(): void {
    if (this.state !== "ended") this.#life.begin();
  }

  stop(): void {
    if (!this.#life.isUnderWay) return;
    this.#life.connection?.send({ type: "detach" });
    this.#life.halt("idle", null, "stopped");
  }

  // -- what the user does

  send(data: Uint8Array | string): boolean {
    const bytes = typeof data === "string" ? this.#encoder.encode(data) : data;
    const isTaken = this.#mayType && this.#inputs.push(bytes);
    if (isTaken && this.state === "open") {
      this.#sendInputs();
      this.#life.connection?.typed();
    }
    this.#tellInput(isTaken ? 0 : bytes.length);
    return isTaken;
  }

  drained(bytes: number): Promise<void> {
    if (this.state === "ended" || this.state === "refused") return Promise.reject(new Error(this.state));
    const drained = this.#drain.wait(bytes);
    this.#drain.pending(this.pendingInputBytes);
    return drained;
  }

  rendered(seq: number): void {
    if (this.#positions.render(seq)) this.#acknowledge();
    else if (this.#ackTimer === null && this.#positions.owesAck) {
      this.#ackTimer = this.#clock.setTimeout(() => this.#acknowledge(), ACK_REST_MS);
    }
    if (this.#isHeld && this.#isReady()) this.#life.retry();
  }

  resize(rows: number, cols: number): void {
    this.#size = { rows: fitSize(rows), cols: fitSize(cols) };
    this.#sendSize();
  }

  signal(name: SignalName): void {
    if (this.state === "open") this.#life.connection?.send({ type: "signal", name });
    else this.#fail("not_connected", `signal ${name} was not sent: not connected`);
  }

  setMode(mode: Mode): void {
    this.#mode = mode;
    if (this.state === "open") this.#life.connection?.send({ type: "mode", mode });
    this.#tellLink();
  }

  get #mayType(): boolean {
    return this.#role !== "viewer" && this.state !== "ended" && this.state !== "refused";
  }

  #sendInputs(): void {
    const { connection } = this.#life;
    if (connection === null || this.state !== "open" || this.#attached?.ended) return;
    while (this.#inputs.isUrgent || connection.unsentBytes < UNSENT_LIMIT_BYTES) {
      const input = this.#inputs.next();
      if (input === null) return;
      connection.send({ type: "input", data: input.data, n: input.n });
    }
  }

  #sendSize(): void {
    if (this.#size === null || this.state !== "open" || this.#role === "viewer") return;
    this.#life.connection?.send({ type: "resize", ...this.#size });
  }

  #acknowledge(): void {
    this.#clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    if (this.state !== "open" || !this.#positions.owesAck) return;
    this.#life.connection?.send({ type: "ack", seq: this.#positions.ack() });
    if (this.#clock.now() - this.#linkToldAt >= LINK_MS || this.#positions.lagBytes === 0) this.#tellLink();
  }

  // -- what the life needs

  #socketMaker(): (ticket: string | null) => WebSocketLike {
    const WebSocket = this.#options.WebSocket ?? globalThis.WebSocket;
    if (WebSocket === undefined) throw new TypeError("there is no WebSocket here: give one in `options.WebSocket`");
    const base = readAddress(this.#options.url);
    return (ticket) => {
      const asked = { clientId: this.clientId, role: this.#role, mode: this.#mode, start: this.#start, ticket };
      return new WebSocket(attachAddress(base, asked), [SUBPROTOCOL]);
    };
  }

  get #start(): Start {
    const { from = "tail", tailBytes = null } = this.#options;
    const position = this.#positions.received ?? from;
    return position === "tail" ? { tailBytes } : { position, epoch: this.#epoch };
  }

  #isReady(): boolean {
    this.#isHeld = this.#positions.unrenderedBytes > UNRENDERED_LIMIT_BYTES;
    return !this.#isHeld;
  }

  #became(event: Events["state"]): void {
    if (event.state === "idle" || event.state === "refused" || event.state === "ended") this.#drain.fail(event.reason);
    this.#emitter.emit("state", event);
    if (event.state === "ended") this.#finish(event.reason);
  }

  #measured(rttMs: number): void {
    this.#rttMs = rttMs;
    this.#life.proved();
    this.#tellLink();
    this.#sendInputs();
  }

  // -- what the service says

  #take(message: ServerMessage): void {
    if (message.type === "error") this.#takeError(message);
    else if ((message.type === "attached") === (this.state === "open")) {
      this.#fail("protocol", `${message.type} out of turn`);
    } else if (message.type === "output") this.#takeOutput(message);
    else if (message.type === "input_ack") this.#takeInputAck(message.n);
    else if (message.type === "attached") this.#takeAttached(message);
    else if (message.type === "gap") this.#takeGap(message);
    else if (message.type === "session_ended") this.#takeEnd(message);
    else this.#tell(message);
  }

  /** What only needs to be told. */
  #tell(message: ServerMessage): void {
    const emitter = this.#emitter;
    switch (message.type) {
      case "replay_end":
        emitter.emit("replayEnd", { seq: message.seq });
        break;
      case "resize":
        emitter.emit("resize", readResize(message));
        break;
      case "viewers":
        emitter.emit("viewers", { viewers: message.viewers, responder: message.responder });
        break;
      case "flow_pause":
      case "flow_resume":
        emitter.emit("flow", { paused: message.type === "flow_pause", bytes: message.bytes });
        break;
      case "storage":
        emitter.emit("storage", { durable: message.durable, reason: message.reason });
        break;
      case "draining":
        emitter.emit("draining", { deadline: message.deadline === null ? null : message.deadline * 1000 });
        break;
      case "notice":
        emitter.emit("notice", readNotice(message));
        break;
      case "heartbeat":
        this.#positions.hear(message.seq);
        emitter.emit("heartbeat", readHeartbeat(message));
        this.#tellLink();
    }
  }

  #takeAttached(message: Attached): void {
    const { connection } = this.#life;
    const gap = this.#enter(message);
    if (gap === "wrong") {
      this.#renew(`attached at ${message.seq}, not where the output had come to`);
      return;
    }
    this.#attached = message;
    this.#epoch = message.epoch;
    const lostBytes = this.#inputs.begin(message.input_n);
    const { preamble, ...greeting } = message;
    this.#emitter.emit("attached", gap === null ? message : greeting);
    if (gap !== null) this.#emitter.emit("gap", preamble === undefined ? gap : { ...gap, preamble });
    if (lostBytes > 0) this.#loseInput(lostBytes);
    if (connection === null || this.#life.connection !== connection) return; // a listener has left
    this.#life.opened();
    // At once, though nothing is rendered: from the first acknowledgement on the service keeps to the window.
    connection.send({ type: "ack", seq: message.seq });
    if (message.mode !== this.#mode) connection.send({ type: "mode", mode: this.#mode });
    this.#sendSize();
    if (message.ended) this.#takeInputAck(message.input_n);
    else this.#sendInputs();
  }

  /** Go on at the position of an attach; return what is missing before it, if something is. */
  #enter({ recover, seq, head, window, epoch, lost_bytes: lostBytes = 0 }: Attached): Gap | null | "wrong" {
    const before = this.#positions.received;
    const isBegunAnew = this.#epoch !== null && epoch !== this.#epoch;
    if (before !== null && !isBegunAnew) {
      if (recover === "gap" && !(seq > before && this.#positions.skip(before, seq))) return "wrong";
      if (!this.#positions.resume(seq, head, window)) return "wrong";
    } else if (recover === "exact" && isBegunAnew) return "wrong";
    else this.#positions.restart(seq, head, window);
    if (recover !== "gap") return null;
    return { first: Math.max(0, seq - lostBytes), last: seq, lostBytes, reason: isBegunAnew ? "epoch" : "trimmed" };
  }

  #takeOutput({ data, seq, replay }: ServerMessages["output"]): void {
    const fresh = this.#positions.take(data, seq);
    if (fresh === "hole") this.#renew(`output of ${data.length} bytes ends at ${seq}: some is missing before it`);
    else if (fresh !== "nothing") {
      this.#life.proved();
      this.#emitter.emit("output", { data: fresh, seq, replay });
    }
  }

  #takeGap({ first, last, lost_bytes: lostBytes, reason, preamble }: ServerMessages["gap"]): void {
    if (this.#positions.skip(first, last)) {
      this.#emitter.emit("gap", { first, last, lostBytes, reason, ...(preamble && { preamble }) });
    } else this.#renew(`a gap from ${first}: some is missing before it`);
  }

  #takeInputAck(n: number): void {
    if (this.#inputs.acknowledge(n)) {
      this.#life.proved();
      this.#sendInputs();
      this.#tellInput(0);
    } else this.#fail("protocol", `input_ack ${n} was never sent`);
  }

  #takeEnd({ reason, exit_code: exitCode, signal, message = "" }: ServerMessages["session_ended"]): void {
    this.#ended = { reason, exitCode, signal, message };
    this.#life.halt("ended", null, reason);
  }

  #takeError({ code, error }: ServerMessages["error"]): void {
    // Only a service that has forgotten this client says so. What it knows, the next greeting tells.
    if (code === "input_out_of_order") this.#renew(error, code);
    else this.#fail(code, error);
  }

  /** What came does not fit to what came before: ask again for what is missing rather than go on without it. */
  #renew(reason: string, code = "protocol"): void {
    const { connection } = this.#life;
    this.#fail(code, reason);
    if (connection !== null && this.#life.connection === connection) this.#life.renew(reason);
  }

  #finish(reason: string): void {
    const droppedBytes = this.#inputs.clear();
    if (droppedBytes > 0) this.#tellInput(droppedBytes);
    this.#emitter.emit("ended", this.#ended ?? { reason, exitCode: null, signal: null, message: "" });
  }

  // -- what is told

  #fail(code: string, message: string): void {
    this.#emitter.emit("error", { code, message });
  }

  #loseInput(bytes: number): void {
    this.#fail("input_uncertain", `${bytes} bytes of input were on their way and may not have been typed`);
    this.#tellInput(bytes);
  }

  #tellInput(droppedBytes: number): void {
    this.#emitter.emit("input", { pendingBytes: this.pendingInputBytes, droppedBytes });
    this.#drain.pending(this.pendingInputBytes);
  }

  #tellLink(): void {
    this.#linkToldAt = this.#clock.now();
    this.#emitter.emit("link", this.link);
  }
}

function readResize({ rows, cols, seq, client_id: clientId }: ServerMessages["resize"]): Events["resize"] {
  return { rows, cols, seq, clientId: clientId === "" ? null : clientId };
}

function readHeartbeat({ expires_at: expires, viewers }: ServerMessages["heartbeat"]): Events["heartbeat"] {
  return { expiresAt: expires === null ? null : expires * 1000, viewers };
}

function readNotice({ kind, message, seq, timestamp, fields }: ServerMessages["notice"]): Events["notice"] {
  return { kind, message, seq, at: timestamp * 1000, fields: fields ?? {} };
}

function fitSize(size: number): number {
  return Math.min(SIZE_LIMIT, Math.max(1, Math.trunc(size) || 1));
}

/** `crypto.randomUUID` is not there on pages without TLS; this is. */
function newClientId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

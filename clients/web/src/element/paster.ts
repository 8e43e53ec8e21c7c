// Sends pastes in pieces, no faster than the service takes them, and keeps what is typed meanwhile behind them.
import type { TerminalClient } from "../client/types.ts";

export interface Progress {
  sentBytes: number;
  totalBytes: number;
}

const PIECE_BYTES = 16 * 1024;
/** So much may wait for its acknowledgement while more is sent; the client keeps a bound of its own above. */
const WAITING_BYTES = 128 * 1024;
/** Typed behind a paste; a person types some bytes a second. */
const HELD_BYTES = 64 * 1024;
const START = "\x1b[200~";
const END = "\x1b[201~";
const INTERRUPT = "\x03";

/** Everything that is typed goes through here: nothing may get between the brackets of a paste. */
export class Paster {
  readonly #client: Pick<TerminalClient, "send" | "drained">;
  readonly #progress: (progress: Progress | null) => void;
  readonly #encoder = new TextEncoder();
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #running: { cancelled: boolean } | null = null;

  /** `progress` is told while a paste is under way, and null when it is over. */
  constructor(client: Pick<TerminalClient, "send" | "drained">, progress: (progress: Progress | null) => void) {
    this.#client = client;
    this.#progress = progress;
  }

  /** Send what was typed: now, or behind the paste that is under way. False: too much waits, nothing of it was taken. */
  type(data: string | Uint8Array): boolean {
    if (this.#running === null) return this.#client.send(data);
    if (data === INTERRUPT) {
      this.cancel();
      return true;
    }
    const bytes = typeof data === "string" ? this.#encoder.encode(data) : data;
    if (this.#heldBytes + bytes.length > HELD_BYTES) return false;
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    return true;
  }

  /**
   * Send clean text, in brackets if the program asked for them. Resolves true when all of it was taken, false when it
   * was cancelled or the session is over; one that begins while another is under way is refused.
   */
  async paste(text: string, bracketed: boolean): Promise<boolean> {
    if (this.#running !== null) return false;
    const run = { cancelled: false };
    this.#running = run;
    try {
      const bytes = this.#encoder.encode(text);
      if (bracketed) await this.#put(this.#encoder.encode(START));
      const whole = await this.#pieces(bytes, run);
      if (bracketed) await this.#put(this.#encoder.encode(END)); // a cancelled one too: the program waits for it
      return whole;
    } catch {
      return false; // the session ended, or we left it: the client has told so
    } finally {
      this.#running = null;
      this.#progress(null);
      for (const held of this.#held.splice(0)) this.#client.send(held);
      this.#heldBytes = 0;
    }
  }

  /** Stop the paste that is under way; what was sent was sent. */
  cancel(): void {
    if (this.#running) this.#running.cancelled = true;
  }

  async #pieces(bytes: Uint8Array, run: { cancelled: boolean }): Promise<boolean> {
    for (let sent = 0; sent < bytes.length; ) {
      if (run.cancelled) return false;
      const piece = bytes.subarray(sent, sent + PIECE_BYTES);
      await this.#put(piece);
      sent += piece.length;
      if (bytes.length > WAITING_BYTES) this.#progress({ sentBytes: sent, totalBytes: bytes.length });
      if (sent < bytes.length) await this.#client.drained(WAITING_BYTES);
    }
    return !run.cancelled;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    if (this.#client.send(bytes)) return;
    await this.#client.drained(WAITING_BYTES);
    if (!this.#client.send(bytes)) throw new Error("input is not taken"); // ended, refused, or only looking on
  }
}

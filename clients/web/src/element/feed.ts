// The queue of what the emulator has not parsed yet: everything is applied in the order in which it came.
import { SequenceTracker } from "./sequence.ts";

/** What a feed needs of xterm.js. */
export interface Sink {
  write(data: Uint8Array | string, callback?: () => void): void;
}

/** Output is cut into pieces of at most so many bytes, so that typing and drawing get their turn between them. */
export const PIECE_BYTES = 32 * 1024;

/**
 * Output and what must happen between output (a resize, a mark), in order.
 *
 * Bounded by the session's window: the service sends no more than that without hearing what was parsed.
 */
export class Feed {
  readonly #sink: Sink;
  readonly #report: (error: unknown) => void;
  /** One entry for each write the emulator has not called back for; the first is the one that it parses. */
  readonly #waiting: { replay: boolean }[] = [];
  readonly #tracker = new SequenceTracker();
  #pendingBytes = 0;
  #closed = false;

  constructor(sink: Sink, report: (error: unknown) => void) {
    this.#sink = sink;
    this.#report = report;
  }

  /** Bytes that were given to the emulator and not parsed yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Whether what is being parsed is old output, whose questions were asked long ago; null if nothing is. */
  get replaying(): boolean | null {
    return this.#waiting[0]?.replay ?? null;
  }

  /** Have output parsed; `parsed` is told for each piece how many of the bytes were, up to and with it. */
  output(data: Uint8Array, replay: boolean, parsed: (upTo: number) => void): void {
    const old = replay ? data.length : this.#tracker.close(data);
    if (replay) this.#tracker.feed(data);
    for (let start = 0; start < data.length; ) {
      const end = Math.min(start + PIECE_BYTES, start < old ? old : data.length);
      this.#write(data.subarray(start, end), start < old, () => parsed(end));
      start = end;
    }
    if (data.length === 0) this.afterwards(() => parsed(0));
  }

  /** Have bytes parsed that have no position: what restores modes. They are never answered. */
  preamble(data: Uint8Array): void {
    this.#tracker.reset();
    this.#tracker.feed(data);
    this.#write(data, true, () => undefined);
  }

  /** Do something when everything before it has been parsed and nothing behind it. */
  afterwards(action: () => void): void {
    if (this.#waiting.length === 0) this.#guard(action);
    else this.#write("", this.#waiting.at(-1)?.replay ?? false, action);
  }

  /** Forget what has not happened yet; the emulator is going away. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
  }

  #write(data: Uint8Array | string, replay: boolean, parsed: () => void): void {
    this.#waiting.push({ replay });
    this.#pendingBytes += data.length;
    // After typing, xterm.js parses within write(): the entry must be there before.
    this.#sink.write(data, () => {
      if (this.#closed) return;
      this.#waiting.shift();
      this.#pendingBytes -= data.length;
      this.#guard(parsed);
    });
  }

  // An error thrown into xterm.js' write loop would stop it for good.
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#report(error);
    }
  }
}

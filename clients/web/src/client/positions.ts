/**
 * How far the output has come: received, rendered, acknowledged. No I/O.
 *
 * After a reconnect the client goes on from what it has *received*. All of that has been handed to the listener, in
 * order, and the listener (an emulator with a queue) outlives the connection: asking from what is rendered would hand
 * out again what still waits in that queue. `rendered` is for the acknowledgements, by which the service sends no
 * faster than the screen takes, and for whoever begins anew with a position to start from.
 */

/** An acknowledgement is due when this much was rendered since the last: often for the window, rarely for the link. */
export const ACK_BYTES = 32 * 1024;
const SKIPS_LIMIT = 64;

/** What became of output that arrived: what of it is new, or that something before it is missing. */
export type Taken = Uint8Array | "nothing" | "hole";

export class Positions {
  /** Where the next byte belongs; null before the first attach. */
  received: number | null = null;
  /** Up to where everything is on the screen. */
  rendered = 0;
  #acked = 0;
  #head = 0;
  #ackBytes = ACK_BYTES;
  /** What was skipped and not yet passed: it will never be rendered. */
  #skips: { first: number; last: number }[] = [];

  /** Begin a connection at `seq` that goes on exactly where the last one ended. False: it does not. */
  resume(seq: number, head: number, window: number): boolean {
    if (this.received !== seq) return false;
    this.#begin(seq, head, window);
    return true;
  }

  /** Begin a connection at `seq` with nothing before it: the first, or one whose positions mean something new. */
  restart(seq: number, head: number, window: number): void {
    this.received = seq;
    this.rendered = seq;
    this.#skips = [];
    this.#begin(seq, head, window);
  }

  #begin(seq: number, head: number, window: number): void {
    this.#head = head;
    this.#acked = seq;
    this.#ackBytes = Math.min(ACK_BYTES, Math.max(1, window >> 2));
  }

  /** Take output that ends at `seq`. No byte is given out twice, none is left out unnoticed. */
  take(data: Uint8Array, seq: number): Taken {
    const start = seq - data.length;
    const received = this.received ?? start;
    if (start > received) return "hole";
    if (seq <= received) return "nothing";
    this.received = seq;
    return start === received ? data : data.subarray(received - start);
  }

  /** Take a gap. False: it does not begin where the output has come to. */
  skip(first: number, last: number): boolean {
    if (this.received === null || first > this.received) return false;
    if (last <= this.received) return true;
    const skip = { first: this.received, last };
    const before = this.#skips.at(-1);
    if (before !== undefined && (before.last === skip.first || this.#skips.length >= SKIPS_LIMIT)) before.last = last;
    else this.#skips.push(skip);
    this.received = last;
    this.#pass();
    return true;
  }

  /** Note what the service says it has. */
  hear(head: number): void {
    this.#head = Math.max(this.#head, head);
  }

  /** Note what is on the screen; return whether an acknowledgement is due now. */
  render(seq: number): boolean {
    if (this.received === null || seq <= this.rendered) return false;
    this.rendered = Math.min(seq, this.received);
    this.#pass();
    return this.rendered - this.#acked >= this.#ackBytes;
  }

  /** Whether something is rendered and not acknowledged. */
  get owesAck(): boolean {
    return this.rendered > this.#acked;
  }

  /** Return the position to acknowledge, which then counts as acknowledged. */
  ack(): number {
    this.#acked = this.rendered;
    return this.#acked;
  }

  /** How many bytes were received and are not on the screen yet. */
  get unrenderedBytes(): number {
    const skipped = this.#skips.reduce((sum, skip) => sum + skip.last - skip.first, 0);
    return Math.max(0, (this.received ?? 0) - this.rendered - skipped);
  }

  /** How many bytes the screen is behind what the service is known to have. */
  get lagBytes(): number {
    return this.unrenderedBytes + Math.max(0, this.#head - (this.received ?? 0));
  }

  #pass(): void {
    for (let skip = this.#skips[0]; skip !== undefined && skip.first <= this.rendered; skip = this.#skips[0]) {
      this.rendered = Math.max(this.rendered, skip.last);
      this.#skips.shift();
    }
  }
}

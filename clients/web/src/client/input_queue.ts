/** Typed input on its way: numbered, kept until it is acknowledged, sent again on every connection. No I/O. */

/** Input goes in messages of at most this size: on a slow link others fit between them. */
export const MESSAGE_BYTES = 16 * 1024;
/**
 * How much is sent without being acknowledged. What is in flight is what a Ctrl-C or a signal has to wait behind;
 * at 50 ms round trip it still lets 2.5 MB/s through.
 */
export const WINDOW_BYTES = 128 * 1024;
/** The least an input counts in the window: the service counts so too, and reads no further at 2 MiB. */
const FLIGHT_COST_BYTES = 512;
/** How many inputs are kept: only Ctrl-Cs without end are more than the bound in bytes allows. */
const ITEMS_LIMIT = 16 * 1024;
const INTERRUPT = 0x03;

interface Item {
  buffer: Uint8Array;
  length: number;
  isInterrupt: boolean;
}

/**
 * A queue of inputs with implicit numbers: the item at index i has number `acked + 1 + i`.
 *
 * Three marks divide it. Items before `sent` are in flight on this connection. Items before `fixed` have been sent on
 * some connection: the service may have taken them, so number and content never change again, not even by `begin`.
 * The rest is joined to larger messages while it waits, except for an input that is exactly Ctrl-C: the service acts
 * on that at once, ahead of what the program has not read, but only if it stands alone.
 */
export class InputQueue {
  /** How many bytes are typed and not acknowledged. */
  pendingBytes = 0;
  readonly #limitBytes: number;
  #items: Item[] = [];
  #acked = 0;
  #sent = 0;
  #fixed = 0;
  #flightBytes = 0;
  #interruptsUnsent = 0;

  /** Keep at most `limitBytes` unacknowledged. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Take a copy of `data` whole, or nothing and return false if then too much would wait. */
  push(data: Uint8Array): boolean {
    if (this.pendingBytes + data.length > this.#limitBytes || this.#items.length >= ITEMS_LIMIT) return false;
    this.pendingBytes += data.length;
    if (data.length === 1 && data[0] === INTERRUPT) {
      this.#items.push({ buffer: data.slice(), length: 1, isInterrupt: true });
      this.#interruptsUnsent += 1;
      return true;
    }
    let rest = data;
    while (rest.length > 0) rest = rest.subarray(this.#join(rest));
    return true;
  }

  /** Return what to send next on this connection, or null: nothing, or not before more is acknowledged. */
  next(): { n: number; data: Uint8Array } | null {
    const item = this.#items[this.#sent];
    if (item === undefined) return null;
    const cost = flightCost(item);
    // A Ctrl-C that waits opens the window: a program that reads nothing would keep it shut for ever.
    if (this.#flightBytes > 0 && this.#flightBytes + cost > WINDOW_BYTES && this.#interruptsUnsent === 0) return null;
    this.#sent += 1;
    this.#fixed = Math.max(this.#fixed, this.#sent);
    this.#flightBytes += cost;
    if (item.isInterrupt) this.#interruptsUnsent -= 1;
    return { n: this.#acked + this.#sent, data: item.buffer.subarray(0, item.length) };
  }

  /** Whether a Ctrl-C is still to be sent: then nothing but the socket's own order holds it up. */
  get isUrgent(): boolean {
    return this.#interruptsUnsent > 0;
  }

  /**
   * Begin on a new connection, whose service has taken inputs up to `taken`. Return how many bytes were given up.
   *
   * All that is not acknowledged is sent again, though the service has some of it: "taken" is not yet written, and a
   * service that is killed in between has it from us alone. What it has taken it only acknowledges again.
   *
   * Where `taken` fits to nothing that was sent (the service has forgotten this client, or somebody else typed under
   * its id), nobody can know whether what was in flight was typed. It is given up and told, not risked: a command
   * lost can be typed again, one that ran twice cannot be undone. What was never sent is safe, under new numbers.
   */
  begin(taken: number): number {
    let lost = 0;
    if (this.#fixed > 0 && (taken < this.#acked || taken > this.#acked + this.#fixed)) lost = this.#drop(this.#fixed);
    if (this.#fixed === 0) this.#acked = taken;
    this.#sent = 0;
    this.#flightBytes = 0;
    this.#interruptsUnsent = this.#items.filter((item) => item.isInterrupt).length;
    return lost;
  }

  /** Forget what was written: everything up to number `n`. Return false for a number that was never sent. */
  acknowledge(n: number): boolean {
    const count = n - this.#acked;
    if (count > this.#fixed) return false;
    if (count > 0) {
      for (const item of this.#items.slice(0, Math.min(count, this.#sent))) this.#flightBytes -= flightCost(item);
      for (const item of this.#items.slice(this.#sent, count)) this.#interruptsUnsent -= item.isInterrupt ? 1 : 0;
      this.#drop(count);
      this.#acked = n;
    }
    return true;
  }

  /** Give up everything, because nobody will read it; return how many bytes that were. */
  clear(): number {
    this.#flightBytes = 0;
    this.#interruptsUnsent = 0;
    this.#acked += this.#fixed;
    return this.#drop(this.#items.length);
  }

  /** Append to the last item, or a new one, as much as fits into a message; return how much that was. */
  #join(data: Uint8Array): number {
    let item = this.#items.at(-1);
    const isOpen = this.#items.length > this.#fixed && item?.isInterrupt === false && item.length < MESSAGE_BYTES;
    if (item === undefined || !isOpen) {
      item = { buffer: new Uint8Array(0), length: 0, isInterrupt: false };
      this.#items.push(item);
    }
    const count = Math.min(data.length, MESSAGE_BYTES - item.length);
    const length = item.length + count;
    if (length > item.buffer.length) {
      const grown = new Uint8Array(item.length === 0 ? length : Math.min(MESSAGE_BYTES, 2 * length));
      grown.set(item.buffer.subarray(0, item.length));
      item.buffer = grown;
    }
    item.buffer.set(data.subarray(0, count), item.length);
    item.length = length;
    return count;
  }

  #drop(count: number): number {
    const bytes = this.#items.splice(0, count).reduce((sum, item) => sum + item.length, 0);
    this.pendingBytes -= bytes;
    this.#sent = Math.max(0, this.#sent - count);
    this.#fixed = Math.max(0, this.#fixed - count);
    return bytes;
  }
}

function flightCost(item: Item): number {
  return Math.max(item.length, FLIGHT_COST_BYTES);
}

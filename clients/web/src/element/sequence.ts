// Whether bytes end in the middle of an escape sequence, so that one begun in old output is not answered when it ends in new.

enum At {
  Ground,
  Escape,
  Control, // CSI: until a final byte
  Text, // OSC: until BEL, ST, or anything that begins anew
  Opaque, // DCS, SOS, PM, APC: as Text, but BEL belongs to it
}

const CAN = 0x18;
const SUB = 0x1a;
const ESC = 0x1b;
const BEL = 0x07;
/** UTF-8 of U+0080..U+00BF begins with it; the emulator takes the first half of those for control characters (C1). */
const C1_LEAD = 0xc2;

/** Follows escape sequences through bytes as the emulator's parser does, ECMA-48 and DEC's parser without the actions. */
export class SequenceTracker {
  #at = At.Ground;
  #lead = false;

  /** True in the middle of an escape sequence. */
  get isOpen(): boolean {
    return this.#at !== At.Ground;
  }

  /** Take all the bytes. */
  feed(data: Uint8Array): void {
    for (const byte of data) this.#step(byte);
  }

  /** Take bytes until the sequence that is open has ended; return how many that were. */
  close(data: Uint8Array): number {
    let taken = 0;
    for (const byte of data) {
      if (!this.isOpen) break;
      this.#step(byte);
      taken += 1;
    }
    return taken;
  }

  /** Forget what was open: the next bytes do not follow the last ones. */
  reset(): void {
    this.#at = At.Ground;
    this.#lead = false;
  }

  #step(byte: number): void {
    const c1 = this.#lead && byte >= 0x80 && byte <= 0x9f;
    this.#lead = byte === C1_LEAD;
    if (c1) this.#at = afterC1(byte);
    else if (byte === CAN || byte === SUB) this.#at = At.Ground;
    else if (byte === ESC) this.#at = At.Escape;
    else if (byte < 0x80) this.#at = afterAscii(this.#at, byte);
  }
}

function afterC1(byte: number): At {
  if (byte === 0x9b) return At.Control;
  if (byte === 0x9d) return At.Text;
  if (byte === 0x90 || byte === 0x98 || byte === 0x9e || byte === 0x9f) return At.Opaque;
  return At.Ground;
}

function afterAscii(at: At, byte: number): At {
  if (at === At.Escape) return afterEscape(byte);
  if (at === At.Control) return byte >= 0x40 && byte <= 0x7e ? At.Ground : At.Control;
  if (at === At.Text) return byte === BEL ? At.Ground : At.Text;
  return at;
}

function afterEscape(byte: number): At {
  if (byte === 0x5b) return At.Control; // [
  if (byte === 0x5d) return At.Text; // ]
  if (byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f) return At.Opaque; // P X ^ _
  return byte >= 0x30 && byte <= 0x7e ? At.Ground : At.Escape;
}

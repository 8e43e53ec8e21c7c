// What leaves the emulator: typing, which always goes to the shell, and its answers to questions, which seldom may.

/** Tells typing from the emulator's own answers: the emulator gives both as `data`, but announces typing just before. */
export class Outgoing {
  readonly #mayAnswer: () => boolean;
  readonly #send: (data: string, typed: boolean) => void;
  #typed = false;
  /** Answers that were kept from the shell: asked in old output, or another viewer's to give. */
  withheld = 0;

  constructor(mayAnswer: () => boolean, send: (data: string, typed: boolean) => void) {
    this.#mayAnswer = mayAnswer;
    this.#send = send;
  }

  /** The next data was typed. */
  userInput(): void {
    this.#typed = true;
  }

  /** Take what the emulator has for the program. */
  data(data: string): void {
    const typed = this.#typed;
    this.#typed = false;
    if (typed || this.#mayAnswer()) this.#send(data, typed);
    else this.withheld += 1;
  }
}

/** Bytes of a string of character codes 0..255, as old mouse reports are. */
export function binaryBytes(data: string): Uint8Array {
  return Uint8Array.from(data, (character) => character.charCodeAt(0) & 0xff);
}

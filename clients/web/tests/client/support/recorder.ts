// A listener that does what an emulator does, and checks that what it is given fits together.
import { expect } from "vitest";
import type { Events, TerminalClient } from "../../../src/client/index.ts";

/** Keeps output, renders it (all at once, or as told), and fails on a byte missing or twice. */
export class Recorder {
  readonly parts: Uint8Array[] = [];
  readonly gaps: Events["gap"][] = [];
  readonly errors: Events["error"][] = [];
  readonly states: Events["state"][] = [];
  readonly inputs: Events["input"][] = [];
  ended: Events["ended"] | null = null;
  attaches = 0;
  position = 0;
  #waiters: { isDone: () => boolean; resolve: () => void }[] = [];

  constructor(client: TerminalClient, { renders = true }: { renders?: boolean } = {}) {
    client.on("attached", ({ seq, recover }) => {
      this.attaches += 1;
      if (this.attaches === 1 || recover === "gap") this.position = seq;
      expect(seq).toBe(this.position);
      this.#look();
    });
    client.on("output", ({ data, seq }) => {
      this.position += data.length;
      expect(seq).toBe(this.position);
      this.parts.push(data.slice());
      if (renders) client.rendered(seq);
      this.#look();
    });
    client.on("gap", (gap) => {
      this.gaps.push(gap);
      this.position = gap.last;
      if (renders) client.rendered(gap.last);
    });
    client.on("error", (error) => this.errors.push(error));
    client.on("state", (state) => this.states.push(state));
    client.on("input", (input) => this.inputs.push(input));
    client.on("ended", (ended) => {
      this.ended = ended;
    });
    for (const name of ["state", "ended", "input", "link", "error", "viewers"] as const)
      client.on(name, () => this.#look());
  }

  get output(): Buffer {
    return Buffer.concat(this.parts);
  }

  get text(): string {
    return this.output.toString();
  }

  get lastState(): string {
    return this.states.at(-1)?.state ?? "idle";
  }

  /** Wait until something holds; looked at after every event. */
  async until(isDone: () => boolean, what: string, ms = 20_000): Promise<void> {
    if (isDone()) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}; ${this.#story()}`)), ms);
    });
    const done = new Promise<void>((resolve) => this.#waiters.push({ isDone, resolve }));
    await Promise.race([done, late]).finally(() => clearTimeout(timer));
  }

  #look(): void {
    const done = this.#waiters.filter(({ isDone }) => isDone());
    this.#waiters = this.#waiters.filter((waiter) => !done.includes(waiter));
    for (const { resolve } of done) resolve();
  }

  #story(): string {
    const last = { states: this.states.slice(-3), errors: this.errors.slice(-3), inputs: this.inputs.slice(-1) };
    return `at ${this.position}, ${this.attaches} attaches, ${JSON.stringify(last)}`;
  }
}

// One session on one screen: what the service tells is applied in order, what is typed is sent.
import type { IDisposable } from "@xterm/xterm";
import type { Attached, Events, TerminalClient } from "../client/types.ts";
import type { Size } from "./fit.ts";
import { onUserInput } from "./internals.ts";
import { binaryBytes, Outgoing } from "./outgoing.ts";
import type { Screen } from "./screen.ts";
import type { View } from "./view.ts";

/** Kinds of notices by which what was said before holds no longer. */
const OVER = new Set(["ready", "link_back"]);

/** What an attachment tells the element. */
export interface Listener {
  /** Something in the view changed. */
  changed(): void;
  emit(name: string, detail: unknown): void;
  resized(): void;
  gap(gap: Omit<Events["gap"], "preamble">): void;
  typed(data: string | Uint8Array): void;
  /** The emulator answers the program. */
  answered(data: string): void;
}

/** Wires a client to a screen until it is closed; closing does not end the session. */
export class Attachment {
  readonly #client: TerminalClient;
  readonly #screen: Screen;
  readonly #view: View;
  readonly #listener: Listener;
  readonly #outgoing: Outgoing;
  readonly #undo: (() => void)[] = [];
  /** Between an attach and the end of its replay nothing is answered, whoever asks. */
  #quiet = true;

  constructor(client: TerminalClient, screen: Screen, view: View, listener: Listener) {
    this.#client = client;
    this.#screen = screen;
    this.#view = view;
    this.#listener = listener;
    this.#outgoing = new Outgoing(
      () => this.#mayAnswer(),
      (data, typed) => (typed ? listener.typed(data) : listener.answered(data)),
    );
    this.#hearClient();
    this.#hearTerminal();
  }

  /** Answers of the emulator that were kept from the shell. */
  get withheldAnswers(): number {
    return this.#outgoing.withheld;
  }

  /** Leave the session and the screen alone. */
  close(): void {
    for (const undo of this.#undo.splice(0)) undo();
    this.#client.stop();
  }

  #mayAnswer(): boolean {
    const replaying = this.#screen.feed.replaying ?? this.#quiet;
    return !replaying && this.#view.responder === this.#client.clientId;
  }

  #hearClient(): void {
    const { feed } = this.#screen;
    const hear = <Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void) =>
      this.#undo.push(this.#client.on(name, listener));
    hear("attached", (attached) => this.#attached(attached));
    hear("output", ({ data, seq, replay }) =>
      feed.output(data, replay, (upTo) => this.#client.rendered(seq - data.length + upTo)),
    );
    hear("replayEnd", () => feed.afterwards(() => this.#replayed()));
    hear("gap", (gap) => this.#gap(gap));
    hear("resize", ({ rows, cols, clientId }) => feed.afterwards(() => this.#resize({ rows, cols }, clientId)));
    hear("notice", (notice) => feed.afterwards(() => this.#notice(notice)));
    hear("ended", (ended) => feed.afterwards(() => this.#ended(ended)));
    this.#hearFacts();
  }

  #hearFacts(): void {
    const show = (facts: Partial<View>) => {
      Object.assign(this.#view, facts);
      this.#listener.changed();
    };
    const { emit } = this.#listener;
    this.#undo.push(
      this.#client.on("state", (event) => {
        const { state, attempt, retryInMs, code, reason } = event;
        show({ state, attempt, code, reason, retryAt: retryInMs === null ? null : Date.now() + retryInMs });
        emit("terminal-state", event);
      }),
      this.#client.on("viewers", (event) => {
        show(event);
        emit("terminal-viewers", event);
      }),
      this.#client.on("link", (link) => show({ link: { ...link } })),
      this.#client.on("storage", (storage) => show({ storage: storage.durable ? null : storage })),
      this.#client.on("draining", ({ deadline }) => show({ draining: deadline })),
      this.#client.on("input", ({ pendingBytes, droppedBytes }) => show({ pendingBytes, droppedBytes })),
      this.#client.on("error", (event) => emit("terminal-error", event)),
    );
  }

  #hearTerminal(): void {
    const { terminal } = this.#screen;
    const disposables: IDisposable[] = [
      onUserInput(terminal, () => this.#outgoing.userInput()),
      terminal.onData((data) => this.#outgoing.data(data)),
      terminal.onBinary((data) => this.#listener.typed(binaryBytes(data))),
      terminal.onBell(() => {
        if (!(this.#screen.feed.replaying ?? true)) this.#listener.emit("terminal-bell", {});
      }),
    ];
    this.#undo.push(() => {
      for (const disposable of disposables) disposable.dispose();
    });
  }

  #attached(attached: Attached): void {
    const { feed } = this.#screen;
    feed.afterwards(() => {
      this.#quiet = true;
      Object.assign(this.#view, { wasOpen: true, replaying: attached.head > attached.seq });
      this.#resize(attached, null);
    });
    if (attached.preamble) feed.preamble(attached.preamble);
  }

  #replayed(): void {
    this.#quiet = false;
    this.#view.replaying = false;
    this.#listener.changed();
  }

  #gap(gap: Events["gap"]): void {
    const { feed } = this.#screen;
    const { first, last, lostBytes, reason } = gap;
    if (gap.preamble) feed.preamble(gap.preamble);
    // Behind it: it goes to the bottom of the screen, and there output goes on.
    feed.afterwards(() => {
      this.#listener.gap({ first, last, lostBytes, reason });
      this.#client.rendered(gap.last);
    });
  }

  #resize(size: Size, by: string | null): void {
    this.#screen.resize(size);
    this.#view.size = { rows: size.rows, cols: size.cols };
    if (by !== null) this.#view.sizeBy = by;
    this.#listener.resized();
  }

  #notice(notice: Events["notice"]): void {
    this.#view.notice = OVER.has(notice.kind) ? null : notice;
    this.#listener.changed();
    this.#listener.emit("terminal-notice", notice);
  }

  #ended(ended: Events["ended"]): void {
    this.#view.ended = ended;
    this.#screen.terminal.write("\x1b[?25l"); // a cursor would say that something can be typed
    this.#listener.changed();
    this.#listener.emit("terminal-ended", ended);
  }
}

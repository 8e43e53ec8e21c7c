// What lives between an attach and a detach: a client, a screen, and everything that serves the two. Single-use.
import type { TerminalClient } from "../client/types.ts";
import { Attachment } from "./attachment.ts";
import { ProgramClipboard } from "./clipboard.ts";
import { Finder, type Found } from "./finder.ts";
import { GapMarkers } from "./gap_marker.ts";
import { drawImages } from "./images.ts";
import { drawUnfocused } from "./internals.ts";
import type { LinkTarget } from "./link_check.ts";
import { type HoveredLink, Links } from "./links.ts";
import { Paster } from "./paster.ts";
import { Renderer } from "./renderer.ts";
import { type Look, Screen } from "./screen.ts";
import { bindShortcuts, type ShortcutActions } from "./shortcuts.ts";
import { Stage } from "./stage.ts";
import { cleanTitle } from "./title.ts";
import { scrollByTouch } from "./touch.ts";
import type { View } from "./view.ts";

/** What the element does for its session. */
export interface Host extends ShortcutActions {
  /** Something in the view changed. */
  changed(): void;
  emit(name: string, detail: unknown): void;
  /** Text from the visitor's clipboard, a drop, or a method. */
  pasted(text: string): void;
  hovered(link: HoveredLink | null): void;
  openLink(link: { uri: string; text: string; target: LinkTarget; ask: boolean }): void;
  found(found: Found | null): void;
  error(code: string, message: string): void;
  /** Return what is sent for what was typed: a key bar may hold modifiers. */
  typed(data: string | Uint8Array): string | Uint8Array;
}

export interface Setting {
  /** The scrolling frame, and in it the place of the emulator. */
  frame: HTMLElement;
  place: HTMLElement;
  look: Look;
  readOnly: boolean;
  screenReader: boolean;
}

/** Titles change at most so often for those who listen. */
const TITLE_MS = 100;
/** The size that fits is told to the service at most so often. */
const SIZE_MS = 120;

/** One session on show. */
export class LiveSession {
  readonly client: TerminalClient;
  readonly screen: Screen;
  readonly stage: Stage;
  readonly finder: Finder;
  readonly paster: Paster;
  readonly clipboard: ProgramClipboard;
  readonly renderer: Renderer;
  readonly #gaps: GapMarkers;
  readonly #host: Host;
  readonly #view: View;
  readonly #stop = new AbortController();
  readonly #attachment: Attachment;
  #look: Look;
  #images = false;
  #readOnly: boolean;
  #screenReader: boolean;
  #titleTimer: ReturnType<typeof setTimeout> | undefined;
  #sizeTimer: ReturnType<typeof setTimeout> | undefined;
  #sizeToldAt = Number.NEGATIVE_INFINITY;
  #toldTitle = "";
  #toldSize = "";

  constructor(client: TerminalClient, setting: Setting, view: View, host: Host) {
    this.client = client;
    this.#host = host;
    this.#view = view;
    this.#look = setting.look;
    this.#readOnly = setting.readOnly;
    this.#screenReader = setting.screenReader;
    const links = new Links({ hovered: (link) => host.hovered(link), open: (link) => host.openLink(link) });
    this.screen = new Screen(setting.place, setting.look, {
      links: links.handler,
      failed: (error) => this.#failed(error),
      remeasured: () => this.#remeasure(),
    });
    this.stage = new Stage(setting.frame, this.screen);
    const { terminal, feed } = this.screen;
    this.renderer = new Renderer(terminal, () => this.#remeasure());
    this.finder = new Finder(terminal, (found) => host.found(found));
    this.paster = new Paster(client, (progress) => this.#show({ progress }));
    this.clipboard = new ProgramClipboard(
      {
        asks: (copying) => this.#show({ copying }),
        failed: (message) => host.error("clipboard", message),
      },
      () => feed.replaying ?? true,
    );
    this.#gaps = new GapMarkers(terminal);
    this.clipboard.attach(terminal);
    links.attach(terminal, setting.frame, this.#stop.signal);
    this.#attachment = this.#attach();
    this.#bind(setting.frame);
  }

  /** Connect; the size that fits is told as soon as there is a connection. */
  start(): void {
    this.fit();
    this.client.start();
  }

  /** Measure the frame, tell the service if something else fits now, and arrange. */
  fit(): void {
    if (this.stage.measure()) {
      this.#view.fits = this.stage.fits;
      this.#tellSize();
    }
    this.#arrange();
  }

  restyle(look: Look, screenReader: boolean): void {
    this.#look = look;
    this.#screenReader = screenReader;
    this.screen.restyle(look);
    this.#listenable();
    this.fit();
  }

  /** Draw images from now on. */
  async drawImages(): Promise<void> {
    if (this.#images) return;
    this.#images = true;
    try {
      await drawImages(this.screen.terminal);
    } catch (error) {
      this.#host.error("images", `images are not drawn: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Leave the session; it goes on without us. */
  close(): void {
    this.#stop.abort();
    clearTimeout(this.#titleTimer);
    clearTimeout(this.#sizeTimer);
    this.paster.cancel();
    this.#attachment.close();
    this.renderer.dispose();
    this.screen.dispose();
  }

  #attach(): Attachment {
    return new Attachment(this.client, this.screen, this.#view, {
      changed: () => this.#changed(),
      emit: (name, detail) => this.#host.emit(name, detail),
      resized: () => this.#arrange(),
      gap: (gap) => {
        this.#gaps.add(gap.lostBytes, gap.reason);
        this.#view.skippedBytes += gap.lostBytes;
        this.#show({ passing: { ...gap } });
        this.#host.emit("terminal-gap", gap);
      },
      typed: (data) => {
        if (!this.paster.type(this.#host.typed(data)))
          this.#host.error("input_refused", "what was typed was not taken: too much waits");
        this.stage.follow();
      },
      answered: (data) => {
        if (!this.paster.type(data)) this.#host.error("input_refused", "an answer of the terminal was not taken");
      },
    });
  }

  #bind(frame: HTMLElement): void {
    const { terminal } = this.screen;
    const { signal } = this.#stop;
    terminal.options.disableStdin = this.#readOnly;
    if (this.#readOnly) drawUnfocused(terminal);
    bindShortcuts(terminal, () => this.#readOnly, this.#host);
    this.stage.attach(signal);
    scrollByTouch(frame, (x, y) => this.stage.scroll(x, y), signal);
    terminal.onRender(() => {
      if (this.screen.isOutgrown) this.#remeasure();
    });
    terminal.onTitleChange((title) => this.#titled(title));
    terminal.textarea?.setAttribute("aria-description", "Control F6 leaves the terminal");
    const take = (event: Event, text: string | undefined) => {
      event.preventDefault();
      event.stopPropagation();
      if (text) this.#host.pasted(text);
    };
    // Before xterm.js, which would send it as it is.
    const capture = { capture: true, signal };
    frame.addEventListener("paste", (event) => take(event, event.clipboardData?.getData("text/plain")), capture);
    frame.addEventListener("drop", (event) => take(event, event.dataTransfer?.getData("text/plain")), capture);
    frame.addEventListener("dragover", (event) => event.preventDefault(), capture);
  }

  #titled(title: string): void {
    this.#view.title = cleanTitle(title);
    this.#titleTimer ??= setTimeout(() => {
      this.#titleTimer = undefined;
      if (this.#view.title === this.#toldTitle) return;
      this.#toldTitle = this.#view.title;
      this.#show({});
      this.#host.emit("terminal-title", { title: this.#toldTitle });
    }, TITLE_MS);
  }

  // The first at once; while a pane is dragged, few: programs draw their whole screen for each.
  #tellSize(): void {
    const tell = () => {
      this.#sizeTimer = undefined;
      this.#sizeToldAt = performance.now();
      if (this.stage.fits) this.client.resize(this.stage.fits.rows, this.stage.fits.cols);
    };
    if (performance.now() - this.#sizeToldAt > SIZE_MS) tell();
    else this.#sizeTimer ??= setTimeout(tell, SIZE_MS);
  }

  #remeasure(): void {
    this.screen.unscale();
    this.fit();
  }

  #arrange(): void {
    if (!this.#view.wasOpen) return; // its size is not known yet
    const letterboxed = this.stage.arrange(this.#look.fontSize);
    const { rows, cols } = this.#view.size;
    this.#view.letterboxed = letterboxed;
    this.#host.changed();
    const size = `${rows}x${cols} ${letterboxed}`;
    if (size === this.#toldSize) return;
    this.#toldSize = size;
    this.#host.emit("terminal-resize", { rows, cols, letterboxed });
  }

  #changed(): void {
    const { state, ended } = this.#view;
    const isOver = ended !== null || state === "ended" || state === "refused";
    this.screen.terminal.options.disableStdin = this.#readOnly || isOver;
    this.#listenable();
    this.#host.changed();
  }

  // Old output is not read out: only what happens now.
  #listenable(): void {
    this.screen.terminal.options.screenReaderMode = this.#screenReader && !this.#view.replaying;
  }

  #show(facts: Partial<View>): void {
    Object.assign(this.#view, facts);
    this.#host.changed();
  }

  #failed(error: unknown): void {
    this.#host.error("emulator", error instanceof Error ? error.message : String(error));
  }
}

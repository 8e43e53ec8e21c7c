// The element <terminal-session>: attributes, methods and events outside; one live session inside.
import type { Terminal } from "@xterm/xterm";
import { html, nothing, type PropertyValues } from "lit";
import { createClient } from "../client/index.ts";
import type { Mode, SignalName, State, TerminalClient } from "../client/types.ts";
import { Attributes } from "./attributes.ts";
import { type BannerActions, banners } from "./banners.ts";
import { copyText } from "./clipboard.ts";
import { cancel, dialog, type Question } from "./dialogs.ts";
import { FindControl } from "./find_control.ts";
import type { FindOptions } from "./finder.ts";
import { sizeNote } from "./fit.ts";
import { keySequence, type Modifiers } from "./keys.ts";
import { type HoveredLink, openTarget } from "./links.ts";
import { type Host, LiveSession } from "./live_session.ts";
import { bannerStyles, overlayStyles, statusStyles } from "./overlay_styles.ts";
import { cleanPaste, mustAsk, type Paste } from "./paste_text.ts";
import { whoIs } from "./people.ts";
import { loadFont, xtermStyles } from "./screen.ts";
import { statusBar } from "./status_bar.ts";
import { withModifiers } from "./sticky.ts";
import { styles } from "./styles.ts";
import { isLight } from "./themes.ts";
import { tip } from "./tip.ts";
import { newView, type View } from "./view.ts";

const COUNTDOWN_MS = 250;

/** Changes of these begin the session anew; all others apply to the one that is on show. */
const IDENTITY = ["src", "session", "access", "history"] as const;

/**
 * A terminal session of the service on a page: `<terminal-session session="…">`. Give it a height.
 *
 * It attaches when it is in a document and has a `session`, and stays attached while it is moved within one task (a tab or
 * pane put elsewhere); removed for longer it detaches, and the session goes on without it: put back, it begins anew.
 *
 * Events bubble out of shadow roots; `detail` is given in braces.
 *
 * @fires terminal-state {state, attempt, retryInMs, code, reason} - of the connection
 * @fires terminal-title {title} - what the program calls itself: one line, at most 256 characters, nothing invisible
 * @fires terminal-viewers {viewers, responder} - who is here, and whose emulator answers the program's questions
 * @fires terminal-notice {kind, message, seq, at, fields} - the place where it runs says something of itself
 * @fires terminal-resize {rows, cols, letterboxed} - the session's size; letterboxed: it is not what fits here
 * @fires terminal-gap {first, last, lostBytes, reason} - output that will never come: trimmed, skipped or torn
 * @fires terminal-ended {reason, exitCode, signal, message} - the program ended; its last output is on the screen
 * @fires terminal-link {href, text} - before a link is opened; `preventDefault()` keeps it closed
 * @fires terminal-input {} - something was typed; not what, for it may be a password
 * @fires terminal-bell {} - the program rings now, not in old output
 * @fires terminal-error {code, message} - something was refused or went wrong; the terminal goes on
 *
 * @cssprop --terminal-padding - around the emulator (4px)
 * @cssprop --terminal-background - of the status bar, banners, and around a terminal of another size (the theme's)
 * @cssprop --terminal-foreground - of their text (the theme's, drawn towards black or white)
 * @cssprop --terminal-accent - focus and progress (#3b82f6)
 * @cssprop --terminal-warning - no connection, gaps (#d97706)
 * @cssprop --terminal-error - refusals (#dc2626)
 * @cssprop --terminal-ui-font - font family of all but the emulator (system-ui)
 *
 * @csspart session - everything
 * @csspart frame - what the emulator stands in; `screen` - the emulator's place
 * @csspart statusbar - below; `presence` in it - who is here
 * @csspart banner - all banners, each also `banner-` and lost, refused, ended, dropped, clipboard, paste, storage, draining, notice or gap
 * @csspart note - the size, where another viewer decides it
 * @csspart gap - the label where output is missing
 * @csspart find - the bar for finding; `tip` - where a link leads; `dialog` - questions (`paste-dialog`, `link-dialog`)
 */
export class TerminalSession extends Attributes {
  static override styles = [styles, overlayStyles, bannerStyles, statusStyles];

  /** Asked before every connection for a single-use ticket, where the service wants to know who we are. */
  ticket: (() => Promise<string | null>) | null = null;
  /** Held for the next character that is typed, whatever types it; given up with it. For key bars on the screen. */
  stickyModifiers: Modifiers = {};

  #live: LiveSession | null = null;
  #view: View = newView();
  #question: Question | null = null;
  #link: HoveredLink | null = null;
  readonly #find = new FindControl(this);
  readonly #dismissed = new Set<string>();
  /** Counts beginnings, so that one that waits for a font notices the next. */
  #beginning = 0;
  #countdown: ReturnType<typeof setTimeout> | undefined;
  readonly #resizes = new ResizeObserver(() => this.#live?.fit());
  readonly #schemeChanged = () => this.#restyle();

  /** Of the connection: idle, connecting, open, waiting, ended, refused. */
  get state(): State {
    return this.#view.state;
  }

  /** The protocol client, while there is a session. */
  get client(): TerminalClient | null {
    return this.#live?.client ?? null;
  }

  /** The emulator, while there is a session. What is written to it past the session is this page's own affair. */
  get terminal(): Terminal | null {
    return this.#live?.screen.terminal ?? null;
  }

  /** Give the keyboard to the terminal. */
  override focus(): void {
    this.terminal?.focus();
  }

  /** Send input as if it was typed, without asking. False: not taken, because too much waits or the session is over. */
  send(data: string | Uint8Array): boolean {
    return this.#live?.paster.type(data) ?? false;
  }

  /** Paste text as from the clipboard: cleaned, asked for if large, in pieces. Resolves whether all of it was taken. */
  async paste(text: string): Promise<boolean> {
    const live = this.#live;
    const paste = cleanPaste(text);
    if (live === null || paste.text === "" || this.isReadOnly) return false;
    const wanted = this.pasteConfirm !== "never" && mustAsk(paste) ? await this.#askPaste(paste) : paste;
    this.focus();
    if (wanted === null || live !== this.#live) return false;
    return live.paster.paste(wanted.text, live.screen.terminal.modes.bracketedPasteMode);
  }

  /** Send what a key sends: a name as in `KeyboardEvent.key` ("Escape", "ArrowUp", "F5") or one character. */
  key(name: string, modifiers: Modifiers = {}): boolean {
    const { terminal } = this;
    const data = terminal && keySequence(name, modifiers, terminal.modes.applicationCursorKeysMode);
    if (!terminal || !data) return false;
    terminal.input(data, true);
    return true;
  }

  /** Open the bar that finds text in the output. */
  openFind(): void {
    void this.#find.open();
  }

  /** Send a signal to the program in the foreground. */
  signal(name: SignalName): void {
    this.client?.signal(name);
  }

  /** Find text; resolves whether there is any. Throws SyntaxError for a bad expression. */
  async find(text: string, options: FindOptions = {}): Promise<boolean> {
    return (await this.#live?.finder.find(text, options)) ?? false;
  }

  /** Highlight no matches any more. */
  clearFind(): void {
    void this.#live?.finder.clear();
  }

  /** The screen and what is above it as text with escape sequences, for another emulator to show. */
  async serialize(): Promise<string> {
    const { SerializeAddon } = await import("@xterm/addon-serialize");
    const addon = new SerializeAddon();
    this.terminal?.loadAddon(addon);
    try {
      return this.terminal ? addon.serialize() : "";
    } finally {
      addon.dispose();
    }
  }

  /** Connect now, whatever the back-off says; also after a refusal. */
  reconnect(): void {
    if (this.client) this.client.reconnect();
    else void this.#begin();
  }

  /** Set the attribute `mode`. */
  setMode(mode: Mode): void {
    this.mode = mode;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.prefersLight.addEventListener("change", this.#schemeChanged);
    if (this.hasUpdated && this.#live === null) void this.#begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.prefersLight.removeEventListener("change", this.#schemeChanged);
    setTimeout(() => {
      if (!this.isConnected) this.#end();
    });
  }

  protected override firstUpdated(): void {
    this.#resizes.observe(this.#part(".frame"));
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (IDENTITY.some((name) => changed.has(name))) void this.#begin();
    else if (changed.size > 0) this.#restyle();
    if (changed.has("mode")) this.client?.setMode(this.mode);
    const open = this.renderRoot.querySelector("dialog");
    if (open && !open.open) open.showModal();
    this.#scheduleCountdown();
  }

  protected override render() {
    const view = this.#view;
    const self = this.client?.clientId ?? "";
    const note =
      view.letterboxed && view.fits && view.wasOpen ? sizeNote(view.size, whoIs(view.viewers, view.sizeBy, self)) : "";
    return html`<div class="session" part="session" role="group" aria-label=${view.title || "Terminal"}>
      <div class="area">
        <div class="frame" part="frame"><div class="screen" part="screen"></div></div>
        <div class="leave" tabindex="-1" @keydown=${this.#return}>Left the terminal: Tab goes on, Enter returns.</div>
        ${note ? html`<div class="note" part="note">${note}</div>` : nothing}
        ${this.#find.render()} ${tip(this.#link, this)}
        <div class="banners">${banners(view, this.#bannerActions, Date.now(), this.#dismissed)}</div>
      </div>
      ${this.statusbar === "hidden" ? nothing : statusBar(view, self, this.isReadOnly)}
      ${dialog(this.#question)}
    </div>`;
  }

  readonly #bannerActions: BannerActions = {
    reconnect: () => this.reconnect(),
    cancelPaste: () => this.#live?.paster.cancel(),
    answerCopy: (how) => {
      this.#live?.clipboard.answer(how);
      this.focus();
    },
    dismiss: (what) => {
      this.#dismissed.add(what);
      this.requestUpdate();
      this.focus();
    },
  };

  readonly #host: Host = {
    changed: () => this.requestUpdate(),
    emit: (name, detail) => this.#emit(name, detail),
    error: (code, message) => this.#emit("terminal-error", { code, message }),
    pasted: (text) => void this.paste(text),
    hovered: (link) => {
      this.#link = link;
      this.requestUpdate();
    },
    typed: (data) => {
      const modified = typeof data === "string" ? withModifiers(data, this.stickyModifiers) : null;
      if (modified !== null) this.stickyModifiers = {};
      this.#emit("terminal-input", {});
      return modified ?? data;
    },
    openLink: ({ text, target, ask }) => {
      const open = () => {
        if (this.#emit("terminal-link", { href: target.href, text })) openTarget(target);
      };
      if (!ask) open();
      else this.#ask({ kind: "link", text, target, answer: (yes) => this.#answered(yes ? open : () => undefined) });
    },
    found: (found) => this.#find.tell(found),
    copy: () => {
      const text = this.terminal?.getSelection();
      if (text) void copyText(text);
    },
    find: () => this.openFind(),
    leave: () => this.#part(".leave").focus(),
  };

  #part(selector: string): HTMLElement {
    const part = this.renderRoot.querySelector<HTMLElement>(selector);
    if (!part) throw new Error("the element was not rendered yet");
    return part;
  }

  async #begin(): Promise<void> {
    this.#end();
    const beginning = this.#beginning;
    if (!this.session || !this.shadowRoot) return;
    this.#paint();
    await loadFont(this.look);
    if (beginning !== this.#beginning || !this.isConnected) return;
    this.#part(".screen").replaceChildren(); // what a beginning left that failed
    const { adoptedStyleSheets } = this.shadowRoot;
    if (!adoptedStyleSheets.includes(xtermStyles())) adoptedStyleSheets.unshift(xtermStyles());
    try {
      const live = this.#makeLive();
      this.#live = live;
      await live.renderer.choose(this.renderer);
      if (this.images) await live.drawImages();
      if (beginning !== this.#beginning) return;
      live.start();
      if (this.autofocus) this.focus();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      Object.assign(this.#view, { state: "refused", reason }); // an address that is none, an xterm.js that changed
      this.requestUpdate();
      this.#emit("terminal-error", { code: "unusable", message: reason });
    }
  }

  #makeLive(): LiveSession {
    const ticket = async () => (this.ticket ? this.ticket() : null); // whichever there is when it is asked
    const setting = {
      frame: this.#part(".frame"),
      place: this.#part(".screen"),
      look: this.look,
      readOnly: this.isReadOnly,
      screenReader: this.screenReader,
    };
    return new LiveSession(createClient({ ...this.options, ticket }), setting, this.#view, this.#host);
  }

  #end(): void {
    this.#beginning += 1;
    this.#live?.close();
    this.#live = null;
    this.#view = newView();
    this.#dismissed.clear();
    clearTimeout(this.#countdown);
    if (this.#question) cancel(this.#question);
    this.requestUpdate();
  }

  #emit(name: string, detail: unknown): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  #restyle(): void {
    this.#paint();
    this.#live?.restyle(this.look, this.screenReader);
    void this.#live?.renderer.choose(this.renderer);
    if (this.images) void this.#live?.drawImages();
  }

  #paint(): void {
    const { background = "", foreground = "" } = this.look.theme;
    const { style } = this.#part(".session");
    style.setProperty("--_theme-background", background);
    style.setProperty("--_theme-foreground", foreground);
    style.setProperty("--_theme-ink", isLight(background) ? "#000" : "#fff");
    style.colorScheme = isLight(background) ? "light" : "dark";
  }

  #scheduleCountdown(): void {
    clearTimeout(this.#countdown);
    if (this.#view.state === "waiting" && this.isConnected) {
      this.#countdown = setTimeout(() => this.requestUpdate(), COUNTDOWN_MS);
    }
  }

  #askPaste(paste: Paste): Promise<Paste | null> {
    return new Promise((resolve) => {
      this.#ask({ kind: "paste", paste, answer: (wanted) => this.#answered(() => resolve(wanted)) });
    });
  }

  #ask(question: Question): void {
    if (this.#question) cancel(this.#question);
    this.#question = question;
    this.requestUpdate();
  }

  #answered(then: () => void): void {
    if (this.#question === null) return; // closing the dialog asks again
    this.#question = null;
    this.renderRoot.querySelector("dialog")?.close();
    this.requestUpdate();
    this.focus();
    then();
  }

  #return(event: KeyboardEvent): void {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    this.focus();
  }
}

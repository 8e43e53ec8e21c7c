// The element <terminal-session>: attributes and methods outside, one screen and one client inside.
import type { ITheme, Terminal } from "@xterm/xterm";
import { html, LitElement, nothing, type PropertyValues } from "lit";
import { createClient } from "../client/index.ts";
import type { Mode, Options, SignalName, State, TerminalClient } from "../client/types.ts";
import { Attachment } from "./attachment.ts";
import { banners } from "./banners.ts";
import { sizeNote } from "./fit.ts";
import { keySequence, type Modifiers } from "./keys.ts";
import { whoIs } from "./people.ts";
import { type Look, loadFont, Screen, xtermStyles } from "./screen.ts";
import { statusBar } from "./status_bar.ts";
import { bannerStyles, statusStyles, styles } from "./styles.ts";
import { themeNamed } from "./themes.ts";
import { newView, type View } from "./view.ts";

const FONTS =
  'ui-monospace, "Cascadia Mono", "JetBrains Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
const TAIL_BYTES = 256 * 1024;

export class TerminalSession extends LitElement {
  static override styles = [styles, bannerStyles, statusStyles];

  static override properties = {
    src: {},
    session: {},
    access: {},
    mode: {},
    history: {},
    theme: {},
    themeColors: { attribute: false },
    fontFamily: { attribute: "font-family" },
    fontSize: { attribute: "font-size", type: Number },
    scrollback: { type: Number },
    screenReader: { attribute: "screen-reader", type: Boolean },
    renderer: {},
    statusbar: {},
  };

  declare src: string;
  declare session: string;
  declare access: "writer" | "viewer";
  declare mode: Mode;
  declare history: string;
  declare theme: string;
  declare themeColors: ITheme | null;
  declare fontFamily: string;
  declare fontSize: number;
  declare scrollback: number;
  declare screenReader: boolean;
  declare renderer: "auto" | "webgl" | "dom";
  declare statusbar: string;
  ticket: (() => Promise<string | null>) | null = null;

  #screen: Screen | null = null;
  #client: TerminalClient | null = null;
  #attachment: Attachment | null = null;
  #view: View = newView();
  #run = 0;
  #resizes = new ResizeObserver(() => this.#measure());
  #prefersLight = matchMedia("(prefers-color-scheme: light)");

  constructor() {
    super();
    this.src = "";
    this.session = "";
    this.access = "writer";
    this.mode = "exact";
    this.history = String(TAIL_BYTES);
    this.theme = "auto";
    this.themeColors = null;
    this.fontFamily = FONTS;
    this.fontSize = 14;
    this.scrollback = 5000;
    this.screenReader = false;
    this.renderer = "auto";
    this.statusbar = "";
    this.#prefersLight.addEventListener("change", () => this.#restyle());
  }

  get state(): State {
    return this.#view.state;
  }

  get client(): TerminalClient | null {
    return this.#client;
  }

  get terminal(): Terminal | null {
    return this.#screen?.terminal ?? null;
  }

  override focus(): void {
    this.#screen?.terminal.focus();
  }

  send(data: string | Uint8Array): boolean {
    return this.#client?.send(data) ?? false;
  }

  key(name: string, modifiers: Modifiers = {}): boolean {
    const terminal = this.#screen?.terminal;
    const data = terminal && keySequence(name, modifiers, terminal.modes.applicationCursorKeysMode);
    if (!terminal || !data) return false;
    terminal.input(data, true);
    return true;
  }

  signal(name: SignalName): void {
    this.#client?.signal(name);
  }

  reconnect(): void {
    this.#client?.reconnect();
  }

  setMode(mode: Mode): void {
    this.mode = mode;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated && this.#screen === null) void this.#begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    setTimeout(() => {
      if (!this.isConnected) this.#end();
    });
  }

  protected override firstUpdated(): void {
    this.renderRoot.querySelector(".frame") && this.#resizes.observe(this.#frame);
    void this.#begin();
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (!changed.has("session") && changed.size === 0) return;
    const remote = (["src", "session", "access", "history"] as const).some((name) => changed.has(name));
    if (remote && this.#run > 0 && changed.get("session") !== undefined) void this.#begin();
    if (changed.has("mode") && this.#client?.link.mode !== this.mode) this.#client?.setMode(this.mode);
    this.#restyle();
  }

  protected override render() {
    const view = this.#view;
    const self = this.#client?.clientId ?? "";
    const note =
      view.fits && view.wasOpen ? sizeNote(view.size, view.fits, whoIs(view.viewers, view.sizeBy, self)) : "";
    const actions = { reconnect: () => this.reconnect() };
    return html`<div class="session" part="session">
      <div class="area">
        <div class="frame" part="frame"><div class="screen" part="screen"></div></div>
        ${note ? html`<div class="note" part="note">${note}</div>` : nothing}
        <div class="banners">${banners(view, actions, Date.now())}</div>
      </div>
      ${this.statusbar === "hidden" ? nothing : statusBar(view, self, this.access === "viewer")}
    </div>`;
  }

  get #frame(): HTMLElement {
    const frame = this.renderRoot.querySelector<HTMLElement>(".frame");
    if (!frame) throw new Error("the element was not rendered yet");
    return frame;
  }

  get #look(): Look {
    return {
      fontFamily: this.fontFamily || FONTS,
      fontSize: this.fontSize > 0 ? this.fontSize : 14,
      scrollback: this.scrollback,
      theme: this.themeColors ?? themeNamed(this.theme, this.#prefersLight.matches),
    };
  }

  async #begin(): Promise<void> {
    this.#end();
    this.#run += 1;
    const run = this.#run;
    if (this.session === "") return;
    await loadFont(this.#look);
    if (run !== this.#run || !this.isConnected) return;
    const parent = this.renderRoot.querySelector<HTMLElement>(".screen");
    if (!parent || !this.shadowRoot) return;
    if (!this.shadowRoot.adoptedStyleSheets.includes(xtermStyles()))
      this.shadowRoot.adoptedStyleSheets.push(xtermStyles());
    const screen = new Screen(parent, this.#look, { activate: () => undefined }, (error) => reportError(error));
    screen.terminal.options.disableStdin = this.access === "viewer";
    const client = createClient(this.#options());
    this.#screen = screen;
    this.#client = client;
    this.#attachment = new Attachment(client, screen, this.#view, {
      changed: () => this.requestUpdate(),
      emit: (name, detail) => this.#emit(name, detail),
      resized: () => this.#arrange(),
      gap: ({ lostBytes }) => {
        this.#view.skippedBytes += lostBytes;
        this.requestUpdate();
      },
      typed: (data) => client.send(data),
    });
    this.#measure();
    client.start();
    if (this.autofocus) this.focus();
  }

  #options(): Options {
    const base = new URL(this.src || ".", document.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    const options: Options = {
      url: new URL(`ws/terminal/${encodeURIComponent(this.session)}`, base).href,
      role: this.access,
      mode: this.mode,
    };
    if (this.history === "all") options.from = 0;
    else options.tailBytes = Number(this.history);
    if (this.ticket) options.ticket = this.ticket;
    return options;
  }

  #end(): void {
    this.#attachment?.close();
    this.#screen?.dispose();
    this.#attachment = null;
    this.#screen = null;
    this.#client = null;
    this.#view = newView();
    this.requestUpdate();
  }

  #emit(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #restyle(): void {
    const look = this.#look;
    this.style.setProperty("--terminal-background", look.theme.background ?? "");
    this.style.setProperty("--terminal-foreground", look.theme.foreground ?? "");
    this.#screen?.restyle(look);
  }

  #measure(): void {
    const frame = this.#frame;
    const style = getComputedStyle(frame);
    const width = frame.clientWidth - Number.parseFloat(style.paddingLeft) - Number.parseFloat(style.paddingRight);
    const height = frame.clientHeight - Number.parseFloat(style.paddingTop) - Number.parseFloat(style.paddingBottom);
    const fits = this.#screen?.fits({ width, height });
    if (!fits) return;
    const before = this.#view.fits;
    this.#view.fits = fits;
    if (before?.rows !== fits.rows || before.cols !== fits.cols) this.#client?.resize(fits.rows, fits.cols);
    this.#arrange();
  }

  #arrange(): void {
    const { size, fits } = this.#view;
    if (fits) {
      this.#frame.classList.toggle("smaller", size.rows < fits.rows || size.cols < fits.cols);
      this.#frame.classList.toggle("larger", size.rows > fits.rows || size.cols > fits.cols);
    }
    this.requestUpdate();
  }
}

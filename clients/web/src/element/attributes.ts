// What a page says of a terminal: attributes of <terminal-session>, the same names as properties, and what they come to.
import type { ITheme } from "@xterm/xterm";
import { LitElement } from "lit";
import type { Mode, Options, Role } from "../client/types.ts";
import type { RendererChoice } from "./renderer.ts";
import type { Look } from "./screen.ts";
import { leastContrast, themeNamed } from "./themes.ts";

const FONTS =
  'ui-monospace, "Cascadia Mono", "JetBrains Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
const FONT_PX = 14;
const TAIL_BYTES = 256 * 1024;
const ROLES: readonly Role[] = ["writer", "viewer", "owner"];
const SCROLLBACK_LINES = 5000;

/** The attributes, their defaults, and what they mean to those who draw and connect. */
export class Attributes extends LitElement {
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
    images: { type: Boolean },
    pasteConfirm: { attribute: "paste-confirm" },
    statusbar: {},
  };

  /** Base address of the service, `https://host/prefix/`; default: the page's own directory. */
  declare src: string;
  /** Id of the session to attach to; without one nothing is done. */
  declare session: string;
  /** `writer` (default), `owner`, or `viewer`, who looks and types nothing. */
  declare access: Role;
  /** `exact` (default) every byte · `live` skips ahead when far behind, and says so · `frozen` nothing until changed. */
  declare mode: Mode;
  /** Bytes of recent output to begin with, or `all` that is kept; default 262144. */
  declare history: string;
  /** `auto` (default: as the system prefers), `dark`, `light`, `solarized-dark`, `solarized-light`, `high-contrast`. */
  declare theme: string;
  /** Colours of one's own, in xterm.js' words; they go before `theme`. */
  declare themeColors: ITheme | null;
  /** A CSS font list; fonts of the page are waited for before characters are measured. */
  declare fontFamily: string;
  /** CSS pixels; default 14. */
  declare fontSize: number;
  /** Lines kept above the screen; default 5000. */
  declare scrollback: number;
  /** Have the output read out by screen readers. */
  declare screenReader: boolean;
  /** `auto` (default: WebGL where there is a GPU), `webgl`, `dom`. */
  declare renderer: RendererChoice;
  /** Draw sixel and iTerm images; the page's policy must allow 'wasm-unsafe-eval' for them. */
  declare images: boolean;
  /** `never`: paste large texts and those of several lines without asking. */
  declare pasteConfirm: string;
  /** `hidden`: no status bar. */
  declare statusbar: string;

  protected readonly prefersLight = matchMedia("(prefers-color-scheme: light)");

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
    this.fontSize = FONT_PX;
    this.scrollback = SCROLLBACK_LINES;
    this.screenReader = false;
    this.renderer = "auto";
    this.images = false;
    this.pasteConfirm = "";
    this.statusbar = "";
  }

  /** How the terminal looks. What makes no sense counts as not said. */
  protected get look(): Look {
    return {
      fontFamily: this.fontFamily || FONTS,
      fontSize: this.fontSize > 0 ? this.fontSize : FONT_PX,
      scrollback: this.scrollback >= 0 ? this.scrollback : SCROLLBACK_LINES,
      theme: this.themeColors ?? themeNamed(this.theme, this.prefersLight.matches),
      minimumContrastRatio: this.themeColors ? 1 : leastContrast(this.theme), // one's own colours are drawn as they are
    };
  }

  /** Looks only: nothing can be typed. */
  protected get isReadOnly(): boolean {
    return this.#role === "viewer";
  }

  get #role(): Role {
    return ROLES.includes(this.access) ? this.access : "viewer"; // what was misspelt gets less, not more
  }

  /** Where to connect, as whom, and from where in the output. Throws TypeError for an address that is none. */
  protected get options(): Options {
    const base = new URL(this.src || ".", document.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    const options: Options = {
      url: new URL(`ws/terminal/${encodeURIComponent(this.session)}`, base).href,
      role: this.#role,
      mode: this.mode,
    };
    const tail = Number(this.history);
    if (this.history === "all") options.from = 0;
    else options.tailBytes = Number.isInteger(tail) && tail >= 0 ? tail : TAIL_BYTES;
    return options;
  }
}

// The emulator in its place: xterm.js with what every terminal has, its fonts, its colours, its size.
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { type ILinkHandler, type ITheme, Terminal } from "@xterm/xterm";
import xtermCss from "@xterm/xterm/css/xterm.css?inline";
import { Feed } from "./feed.ts";
import { type Box, fitting, type Size } from "./fit.ts";
import { drawnCell, openStrictly, showCursorAtOnce } from "./internals.ts";
import { strictDocument } from "./strict_document.ts";

export interface Look {
  fontFamily: string;
  /** In CSS pixels. */
  fontSize: number;
  /** Lines kept above the screen. */
  scrollback: number;
  theme: ITheme;
  /** Text is drawn lighter or darker until it has this contrast to what is behind it. */
  minimumContrastRatio: number;
}

/** A font that does not arrive within so many milliseconds is not waited for; it takes over when it comes. */
const FONT_MS = 2000;
/** The room that xterm.js' scroll bar takes. */
const SCROLLBAR_PX = 14;

let xtermSheet: CSSStyleSheet | null = null;

/** Return xterm.js' own styles, parsed once for all terminals of a page. */
export function xtermStyles(): CSSStyleSheet {
  if (xtermSheet === null) {
    xtermSheet = new CSSStyleSheet();
    xtermSheet.replaceSync(xtermCss);
  }
  return xtermSheet;
}

/** Wait for a font, so that characters are measured in it and not in what stands in for it. */
export async function loadFont(look: Pick<Look, "fontFamily" | "fontSize">): Promise<void> {
  const faces = ["", "bold ", "italic "].map((style) =>
    document.fonts.load(`${style}${look.fontSize}px ${look.fontFamily}`).catch(() => []),
  );
  await Promise.race([Promise.all(faces), new Promise((resolve) => setTimeout(resolve, FONT_MS))]);
}

export interface ScreenListener {
  links: ILinkHandler;
  /** Something that was to happen between output went wrong. */
  failed(error: unknown): void;
  /** Characters have another size: a font has arrived. */
  remeasured(): void;
}

/** One emulator in one element; single-use. */
export class Screen {
  readonly terminal: Terminal;
  readonly feed: Feed;
  readonly #stop = new AbortController();
  readonly #listener: ScreenListener;
  #look: Look;
  /** A character's size at the font size that was asked for; another one may be shown where that does not fit. */
  #cell: Box | null = null;

  constructor(parent: HTMLElement, look: Look, listener: ScreenListener) {
    const root = parent.getRootNode();
    if (!(root instanceof ShadowRoot)) throw new Error("a screen must stand in a shadow root of the document");
    this.#look = look;
    this.#listener = listener;
    const ownDocument = strictDocument(document, root);
    this.terminal = new Terminal({
      ...look,
      allowProposedApi: true,
      allowTransparency: false,
      cursorBlink: false,
      cursorInactiveStyle: "outline",
      documentOverride: ownDocument,
      linkHandler: listener.links,
      logLevel: "off",
      macOptionIsMeta: false,
      rightClickSelectsWord: false,
      // No window manipulation: a program neither moves this window nor reads its title or size in pixels.
      windowOptions: {},
    });
    this.feed = new Feed(this.terminal, listener.failed);
    openStrictly(this.terminal, parent, ownDocument);
    showCursorAtOnce(this.terminal);
    this.terminal.loadAddon(new UnicodeGraphemesAddon());
    document.fonts.addEventListener("loadingdone", () => this.#fontsChanged(), { signal: this.#stop.signal });
  }

  /** The size at present. */
  get size(): Size {
    return { rows: this.terminal.rows, cols: this.terminal.cols };
  }

  /** Whether program and user are on the alternate screen, as full-screen programs are. */
  get isAlternate(): boolean {
    return this.terminal.buffer.active.type === "alternate";
  }

  /** The size of one character as it is drawn now, in CSS pixels; null before anything was measured. */
  drawnCell(): Box | null {
    const cell = drawnCell(this.terminal);
    return cell.width > 0 ? cell : null;
  }

  /** How many characters fit an area at the font size that was asked for; null while it has none, as when hidden. */
  fits(area: Box): Size | null {
    if (this.terminal.options.fontSize === this.#look.fontSize) this.#cell = this.drawnCell() ?? this.#cell;
    return this.#cell && fitting(area, this.#cell, this.scrollbarPx);
  }

  /** Whether characters have another size than was measured: by the browser's zoom, or shown for the first time. */
  get isOutgrown(): boolean {
    if (this.terminal.options.fontSize !== this.#look.fontSize) return false;
    const drawn = this.drawnCell();
    if (drawn === null) return false;
    // The DOM renderer spreads a line's rounding over its cells: that much is no change.
    return this.#cell === null || Math.abs(drawn.width / this.#cell.width - 1) > 0.02;
  }

  /** The room that the scroll bar takes. */
  get scrollbarPx(): number {
    return this.terminal.options.scrollback === 0 ? 0 : SCROLLBAR_PX;
  }

  /** Scroll as a wheel would: the lines above the screen, or what the program makes of it. */
  scrollLines(lines: number): void {
    if (!this.isAlternate && this.terminal.modes.mouseTrackingMode === "none") {
      this.terminal.scrollLines(lines);
      return;
    }
    const options = { deltaMode: WheelEvent.DOM_DELTA_LINE, deltaY: Math.sign(lines), bubbles: true, cancelable: true };
    const target = this.terminal.element?.querySelector(".xterm-screen");
    for (let line = 0; line < Math.abs(lines); line += 1) target?.dispatchEvent(new WheelEvent("wheel", options));
  }

  /** Set the session's size. */
  resize(size: Size): void {
    this.terminal.resize(size.cols, size.rows);
  }

  /** Change fonts and colours. */
  restyle(look: Look): void {
    const fontChanged = look.fontFamily !== this.#look.fontFamily || look.fontSize !== this.#look.fontSize;
    this.#look = look;
    Object.assign(this.terminal.options, look);
    if (fontChanged) {
      this.unscale();
      void loadFont(look).then(() => this.#fontsChanged());
    }
  }

  /** Draw at another font size than the one that was asked for. */
  scale(fontSize: number): void {
    if (this.terminal.options.fontSize !== fontSize) this.terminal.options.fontSize = fontSize;
  }

  /** Draw at the font size that was asked for again, and measure anew: characters have another size now. */
  unscale(): void {
    this.#cell = null;
    this.scale(this.#look.fontSize);
  }

  dispose(): void {
    this.#stop.abort();
    this.feed.close();
    this.terminal.dispose();
  }

  // xterm.js measures when the option changes, not when the font arrives.
  #fontsChanged(): void {
    if (this.#stop.signal.aborted) return;
    const { fontFamily } = this.#look;
    this.terminal.options.fontFamily = "monospace";
    this.terminal.options.fontFamily = fontFamily;
    this.terminal.clearTextureAtlas();
    this.#listener.remeasured();
  }
}

// Where the terminal stands in its area: as large as fits, or smaller or larger where another viewer decides.
import { type Box, type Size, scaledFontSize } from "./fit.ts";
import type { Screen } from "./screen.ts";

/** A terminal that is too large is drawn smaller, but not below this part of the font size, and not below these pixels. */
const LEAST_SCALE = 0.7;
const LEAST_PX = 9;

/** Arranges a screen in a frame. */
export class Stage {
  readonly #frame: HTMLElement;
  readonly #screen: Screen;
  /** What fits at the font size that was asked for; null while the frame is hidden. */
  fits: Size | null = null;
  #following = true;
  #partOfLine = 0;

  constructor(frame: HTMLElement, screen: Screen) {
    this.#frame = frame;
    this.#screen = screen;
  }

  /** Measure what fits; return whether that changed. */
  measure(): boolean {
    const before = this.fits;
    this.fits = this.#screen.fits(this.#area()) ?? before;
    return this.fits?.rows !== before?.rows || this.fits?.cols !== before?.cols;
  }

  /** Put a terminal of its size into the frame; return whether it differs from what fits. `fontSize` was asked for. */
  arrange(fontSize: number): boolean {
    const { fits } = this;
    if (fits === null) return false;
    const { size } = this.#screen;
    const larger = size.rows > fits.rows || size.cols > fits.cols;
    this.#screen.scale(
      larger ? scaledFontSize(fontSize, fits, size, Math.max(LEAST_PX, fontSize * LEAST_SCALE)) : fontSize,
    );
    const smaller = !larger && (size.rows < fits.rows || size.cols < fits.cols);
    this.#frame.classList.toggle("other", larger || smaller);
    this.#hold(larger || smaller);
    if (larger && this.#following) this.#showCursor();
    return larger || smaller;
  }

  /** Keep the cursor in sight from now on, until the frame is scrolled elsewhere. */
  follow(): void {
    this.#following = true;
    this.#showCursor();
  }

  /** Scroll by pixels: the frame where the terminal is larger, then the terminal. */
  scroll(deltaX: number, deltaY: number): void {
    const left = this.#pan(deltaX, deltaY);
    const height = this.#screen.drawnCell()?.height ?? 0;
    if (left === 0 || height === 0) return;
    this.#partOfLine += left / height;
    const lines = Math.trunc(this.#partOfLine);
    this.#partOfLine -= lines;
    if (lines !== 0) this.#screen.scrollLines(lines);
  }

  /** Have the cursor followed and the frame panned by wheel until `signal` says to stop. */
  attach(signal: AbortSignal): void {
    let frame = 0;
    this.#screen.terminal.onCursorMove(() => {
      if (frame !== 0 || !this.#following || !this.#overflows) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        if (!signal.aborted && this.#following) this.#showCursor();
      });
    });
    const wheel = (event: WheelEvent) => {
      if (!this.#overflows || !event.isTrusted || this.#pan(event.deltaX, event.deltaY) === event.deltaY) return;
      event.preventDefault();
      event.stopPropagation();
    };
    this.#frame.addEventListener("wheel", wheel, { capture: true, passive: false, signal });
  }

  #pan(deltaX: number, deltaY: number): number {
    const { scrollTop } = this.#frame;
    this.#frame.scrollBy(deltaX, deltaY);
    const moved = this.#frame.scrollTop - scrollTop;
    if (moved !== 0 || deltaX !== 0) this.#following = false;
    return deltaY - moved;
  }

  get #overflows(): boolean {
    const { scrollHeight, clientHeight, scrollWidth, clientWidth } = this.#frame;
    return scrollHeight > clientHeight || scrollWidth > clientWidth;
  }

  #showCursor(): void {
    const cell = this.#screen.drawnCell();
    if (!cell || !this.#overflows) return;
    const frame = this.#frame;
    const { cursorX, cursorY } = this.#screen.terminal.buffer.active;
    frame.scrollTop = nearest(frame.scrollTop, frame.clientHeight, cursorY * cell.height, cell.height * 2);
    frame.scrollLeft = nearest(frame.scrollLeft, frame.clientWidth, cursorX * cell.width, cell.width * 4);
  }

  // Usually the emulator fills the frame, with its scroll bar at the edge; one of another size is held by its own.
  #hold(exactly: boolean): void {
    const { element } = this.#screen.terminal;
    const drawn = element?.querySelector<HTMLElement>(".xterm-screen");
    if (!element || !drawn) return;
    element.style.width = exactly ? `${drawn.offsetWidth + this.#screen.scrollbarPx}px` : "100%";
    element.style.height = exactly ? `${drawn.offsetHeight}px` : "100%";
  }

  #area(): Box {
    const style = getComputedStyle(this.#frame);
    const px = (name: string) => Number.parseFloat(style.getPropertyValue(name)) || 0;
    return {
      width: this.#frame.offsetWidth - px("padding-left") - px("padding-right"),
      height: this.#frame.offsetHeight - px("padding-top") - px("padding-bottom"),
    };
  }
}

function nearest(scroll: number, room: number, at: number, margin: number): number {
  if (at - margin < scroll) return Math.max(0, at - margin);
  return at + margin > scroll + room ? at + margin - room : scroll;
}

// Small screens and on-screen keyboards: what room there really is.
import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Less than this much of the window left by the on-screen keyboard: there is one. */
const KEYBOARD_SHARE = 0.78;

/** Keeps the host as high as what can be seen, so that nothing lies below the on-screen keyboard. */
export class Phone implements ReactiveController {
  readonly #host: ReactiveControllerHost & HTMLElement;
  readonly #narrow = window.matchMedia("(max-width: 640px)");
  readonly #coarse = window.matchMedia("(pointer: coarse)");
  #tallest = 0;
  isNarrow = this.#narrow.matches;
  isTouched = this.#coarse.matches;
  hasKeyboard = false;

  constructor(host: ReactiveControllerHost & HTMLElement) {
    this.#host = host;
    host.addController(this);
  }

  hostConnected(): void {
    this.#narrow.addEventListener("change", this.#onChange);
    this.#coarse.addEventListener("change", this.#onChange);
    window.visualViewport?.addEventListener("resize", this.#onChange);
    window.visualViewport?.addEventListener("scroll", this.#onChange);
    this.#onChange();
  }

  hostDisconnected(): void {
    this.#narrow.removeEventListener("change", this.#onChange);
    this.#coarse.removeEventListener("change", this.#onChange);
    window.visualViewport?.removeEventListener("resize", this.#onChange);
    window.visualViewport?.removeEventListener("scroll", this.#onChange);
  }

  readonly #onChange = (): void => {
    this.isNarrow = this.#narrow.matches;
    this.isTouched = this.#coarse.matches;
    this.#measure();
    this.#host.requestUpdate();
  };

  #measure(): void {
    const seen = window.visualViewport;
    const isZoomed = seen !== null && seen.scale > 1.01; // somebody looks closer: that is no keyboard
    if (!seen || isZoomed || !(this.isNarrow || this.isTouched)) {
      this.hasKeyboard = false;
      this.#host.style.height = "";
      this.#host.style.transform = "";
      return;
    }
    if (window.innerHeight > this.#tallest || Math.abs(window.innerWidth - this.#width) > 1) {
      this.#tallest = window.innerHeight;
    }
    this.#width = window.innerWidth;
    this.hasKeyboard = seen.height < this.#tallest * KEYBOARD_SHARE;
    this.#host.style.height = `${seen.height}px`;
    this.#host.style.transform = seen.offsetTop > 0 ? `translateY(${seen.offsetTop}px)` : "";
  }
  #width = 0;
}

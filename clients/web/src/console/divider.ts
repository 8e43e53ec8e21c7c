// The line between two halves of a split: moved by dragging, by arrow keys, and back to the middle by a double click.
import { css, html, LitElement, type PropertyValues, type TemplateResult } from "lit";
import { boundedShare, type Divider, SMALLEST_SHARE } from "./layout.ts";

const STEP = 2;
const LARGE_STEP = 10;

export interface Moved {
  readonly path: string;
  readonly share: number;
}

/** Tells `divider-moved` {path, share}; the part of the page it divides is its offset parent. */
export class PaneDivider extends LitElement {
  static override properties = { divider: { attribute: false } };
  static override styles = css`
    :host {
      position: absolute;
      z-index: 3;
      touch-action: none;
      outline: none;
    }
    :host([direction="right"]) {
      width: 9px;
      margin-left: -4.5px;
      cursor: col-resize;
    }
    :host([direction="down"]) {
      height: 9px;
      margin-top: -4.5px;
      cursor: row-resize;
    }
    .line {
      position: absolute;
      inset: 4px;
      background: var(--line);
      transition: background var(--quick);
    }
    :host([direction="right"]) .line {
      inset-block: 0;
    }
    :host([direction="down"]) .line {
      inset-inline: 0;
    }
    :host(:is(:hover, [dragged])) .line {
      inset-inline: 3px;
      background: var(--accent);
    }
    :host([direction="down"]:is(:hover, [dragged])) .line {
      inset: 3px 0;
    }
    :host(:focus-visible) .line {
      background: var(--focus);
    }
    :host([direction="right"]:focus-visible) .line {
      inset-inline: 2px;
    }
    :host([direction="down"]:focus-visible) .line {
      inset-block: 2px;
    }
    @media (forced-colors: active) {
      .line {
        background: CanvasText;
      }
    }
  `;
  declare divider: Divider;

  override connectedCallback(): void {
    super.connectedCallback();
    this.role = "separator";
    this.tabIndex = 0;
    this.ariaValueMin = String(SMALLEST_SHARE);
    this.ariaValueMax = String(100 - SMALLEST_SHARE);
    this.addEventListener("pointerdown", this.#onPress);
    this.addEventListener("keydown", this.#onKey);
    this.addEventListener("dblclick", this.#onDoubleClick);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.removeEventListener("pointerdown", this.#onPress);
    this.removeEventListener("keydown", this.#onKey);
    this.removeEventListener("dblclick", this.#onDoubleClick);
  }

  override render(): TemplateResult {
    return html`<div class="line"></div>`;
  }

  override updated(changed: PropertyValues): void {
    if (!changed.has("divider")) return;
    const { area, direction, share } = this.divider;
    const isUpright = direction === "right";
    this.setAttribute("direction", direction);
    this.ariaOrientation = isUpright ? "vertical" : "horizontal";
    this.ariaLabel = isUpright ? "Width of the panes on its left" : "Height of the panes above";
    this.ariaValueNow = String(Math.round(share));
    this.style.left = percent(isUpright ? area.x + (area.width * share) / 100 : area.x);
    this.style.top = percent(isUpright ? area.y : area.y + (area.height * share) / 100);
    this.style.width = isUpright ? "" : percent(area.width);
    this.style.height = isUpright ? percent(area.height) : "";
  }

  #move(share: number): void {
    const detail: Moved = { path: this.divider.path, share: boundedShare(share) };
    if (detail.share === this.divider.share) return;
    this.dispatchEvent(new CustomEvent("divider-moved", { detail, bubbles: true, composed: true }));
  }

  readonly #onPress = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    event.preventDefault();
    this.setPointerCapture(event.pointerId);
    this.toggleAttribute("dragged", true);
    const move = (moved: PointerEvent) => this.#move(this.#shareAt(moved));
    this.addEventListener("pointermove", move);
    this.addEventListener(
      "lostpointercapture",
      () => {
        this.removeEventListener("pointermove", move);
        this.toggleAttribute("dragged", false);
      },
      { once: true },
    );
  };

  #shareAt({ clientX, clientY }: PointerEvent): number {
    const whole = this.offsetParent?.getBoundingClientRect();
    const { area, direction } = this.divider;
    if (!whole) return this.divider.share;
    return direction === "right"
      ? (((clientX - whole.left) / whole.width - area.x) / area.width) * 100
      : (((clientY - whole.top) / whole.height - area.y) / area.height) * 100;
  }

  readonly #onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [less, more] = this.divider.direction === "right" ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    const step = event.shiftKey ? LARGE_STEP : STEP;
    if (event.key === less) this.#move(this.divider.share - step);
    else if (event.key === more) this.#move(this.divider.share + step);
    else if (event.key === "Home") this.#move(SMALLEST_SHARE);
    else if (event.key === "End") this.#move(100 - SMALLEST_SHARE);
    else if (event.key === "Enter") this.#move(50);
    else return;
    event.preventDefault();
  };

  readonly #onDoubleClick = (): void => this.#move(50);
}

function percent(fraction: number): string {
  return `${fraction * 100}%`;
}

customElements.define("pane-divider", PaneDivider);

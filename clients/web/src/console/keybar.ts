// The keys that on-screen keyboards lack, above them. Ctrl and Alt wait for the next key; tapped twice they stay.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { controls } from "./controls.ts";
import { sign } from "./signs.ts";

export interface Modifiers {
  readonly ctrl: boolean;
  readonly alt: boolean;
}

/** What the bar needs of a terminal. */
export interface KeyTaker {
  key(name: string, modifiers: { ctrl?: boolean; alt?: boolean }): unknown;
  /** Hold for the next input, whoever types it. */
  stickyModifiers: Modifiers;
}

type Held = "off" | "once" | "locked";
type Modifier = keyof Modifiers;

const KEYS: readonly (readonly [name: string, cap: string, label: string])[] = [
  ["Escape", "Esc", "Escape"],
  ["Tab", "Tab", "Tab"],
];
const MORE: readonly (readonly [name: string, cap: string, label: string])[] = [
  ["ArrowLeft", "←", "Left"],
  ["ArrowDown", "↓", "Down"],
  ["ArrowUp", "↑", "Up"],
  ["ArrowRight", "→", "Right"],
];
const REST: readonly (readonly [name: string, cap: string, label: string])[] = [
  ["Home", "Home", "Home"],
  ["End", "End", "End"],
  ["PageUp", "PgUp", "Page up"],
  ["PageDown", "PgDn", "Page down"],
  ["|", "|", "Bar"],
  ["/", "/", "Slash"],
  ["-", "-", "Minus"],
  ["~", "~", "Tilde"],
];
const REPEAT_AFTER_MS = 420;
const REPEAT_EVERY_MS = 70;
const DOUBLE_TAP_MS = 400;

/** Tells `paste-wanted`. The keyboard stays where it is: no press of this bar takes the focus. */
export class KeyBar extends LitElement {
  static override properties = { terminal: { attribute: false }, ctrl: { state: true }, alt: { state: true } };
  static override styles = [
    controls,
    css`
      :host {
        display: block;
        background: var(--surface);
        border-top: 1px solid var(--line);
        padding-bottom: env(safe-area-inset-bottom);
        user-select: none;
        -webkit-user-select: none;
      }
      .keys {
        display: flex;
        gap: 2px; /* eight keys and the beginning of a ninth, which shows that there are more */
        padding: 3px 4px;
        overflow-x: auto;
        scrollbar-width: none;
        overscroll-behavior: contain;
      }
      button {
        flex: 1 0 44px;
        min-width: 44px;
        min-height: 44px;
        padding: 0 4px;
        border-color: var(--line);
        font-size: 14px;
      }
      button[data-held="once"] {
        border-color: var(--accent);
        background: var(--accent-soft);
      }
      button[data-held="locked"] {
        border-color: transparent;
        background: var(--accent-fill);
        color: var(--on-accent);
      }
      button:active {
        background: var(--pressed);
      }
      :focus-visible {
        outline-offset: -3px;
      }
    `,
  ];
  declare terminal: KeyTaker | null;
  declare ctrl: Held;
  declare alt: Held;
  #lastTap = 0;
  #repeating: ReturnType<typeof setTimeout> | null = null;
  #hasRepeated = false;

  constructor() {
    super();
    this.terminal = null;
    this.ctrl = "off";
    this.alt = "off";
  }

  /** To be called when the terminal took some input: what was held for one key is let go. */
  taken(): void {
    if (this.ctrl === "once") this.ctrl = "off";
    if (this.alt === "once") this.alt = "off";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#stopRepeating();
  }

  override render(): TemplateResult {
    return html`<div class="keys" role="toolbar" aria-label="Keys" @pointerdown=${keepFocus} @mousedown=${keepFocus}>
      ${KEYS.map((key) => this.#key(...key))} ${this.#modifier("ctrl", "Ctrl")} ${this.#modifier("alt", "Alt")}
      ${MORE.map((key) => this.#key(...key))}
      <button type="button" aria-label="Paste" title="Paste" @click=${this.#onPaste}>${sign("paste")}</button>
      ${REST.map((key) => this.#key(...key))}
    </div>`;
  }

  override updated(): void {
    if (this.terminal) this.terminal.stickyModifiers = this.#held;
  }

  #key(name: string, cap: string, label: string): TemplateResult {
    return html`<button
      type="button"
      aria-label=${/^\w+$/.test(cap) ? nothing : label}
      title=${label}
      @pointerdown=${(event: PointerEvent) => this.#onDown(event, name)}
      @pointerup=${this.#stopRepeating}
      @pointercancel=${this.#stopRepeating}
      @pointerleave=${this.#stopRepeating}
      @contextmenu=${(event: Event) => event.preventDefault()}
      @click=${() => this.#onClick(name)}
    >
      ${cap}
    </button>`;
  }

  #modifier(name: Modifier, cap: string): TemplateResult {
    return html`<button
      type="button"
      data-held=${this[name]}
      aria-pressed=${this[name] !== "off"}
      title="${cap} for the next key; tap twice to keep it"
      @click=${() => this.#tap(name)}
    >
      ${cap}
    </button>`;
  }

  get #held(): Modifiers {
    return { ctrl: this.ctrl !== "off", alt: this.alt !== "off" };
  }

  #onDown(event: PointerEvent, name: string): void {
    this.#hasRepeated = false;
    if (event.button === 0) this.#repeatLater(name);
  }

  /** The end of a long press is no press of its own. */
  #onClick(name: string): void {
    if (!this.#hasRepeated) this.#press(name);
    this.#hasRepeated = false;
  }

  #press(name: string): void {
    const { terminal } = this;
    if (!terminal) return;
    const held = this.#held;
    terminal.stickyModifiers = { ctrl: false, alt: false };
    terminal.key(name, held);
    this.taken();
    terminal.stickyModifiers = this.#held;
  }

  #tap(name: Modifier): void {
    const now = Date.now();
    const isDouble = now - this.#lastTap < DOUBLE_TAP_MS;
    this.#lastTap = now;
    this[name] = this[name] === "off" ? "once" : this[name] === "once" && isDouble ? "locked" : "off";
  }

  #repeatLater(name: string, after = REPEAT_AFTER_MS): void {
    this.#stopRepeating();
    this.#repeating = setTimeout(() => {
      this.#hasRepeated = true;
      this.#press(name);
      this.#repeatLater(name, REPEAT_EVERY_MS);
    }, after);
  }

  readonly #stopRepeating = (): void => {
    if (this.#repeating !== null) clearTimeout(this.#repeating);
    this.#repeating = null;
  };

  #onPaste(): void {
    this.dispatchEvent(new CustomEvent("paste-wanted", { bubbles: true, composed: true }));
  }
}

/** A press that moved the focus would close the on-screen keyboard. */
function keepFocus(event: Event): void {
  event.preventDefault();
}

customElements.define("key-bar", KeyBar);

// The menu that opens at a button: one for the whole console, filled when it is opened.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { type About, act, activeElement } from "./act.ts";
import { controls } from "./controls.ts";
import { type Sign, sign } from "./signs.ts";

export interface MenuItem {
  readonly label: string;
  readonly command: string;
  readonly about?: About;
  readonly sign?: Sign;
  readonly chord?: string | undefined;
  /** For one that is on or off: whether it is on. `radio` if it is one of several. */
  readonly checked?: boolean;
  readonly radio?: boolean;
  readonly danger?: boolean;
  /** Begins a new group. */
  readonly apart?: boolean;
}

const EDGE = 8;

export class ConsoleMenu extends LitElement {
  static override properties = { items: { state: true }, label: { state: true } };
  static override styles = [
    controls,
    css`
      .menu {
        position: fixed;
        inset: auto;
        margin: 0;
        padding: 5px;
        min-width: 230px;
        max-width: calc(100vw - 16px);
        max-height: calc(100dvh - 16px);
        overflow: auto;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--raised);
        color: var(--text);
        box-shadow: 0 10px 34px var(--shadow);
      }
      button {
        display: flex;
        width: 100%;
        justify-content: flex-start;
        gap: 10px;
        padding: 0 10px;
        border-color: transparent;
        background: transparent;
        font-weight: 400;
        text-align: start;
      }
      button:focus {
        background: var(--hover);
        outline-offset: -2px;
      }
      button.danger {
        color: var(--bad);
        background: transparent;
      }
      button.danger:is(:hover, :focus) {
        background: var(--bad-soft);
      }
      .label {
        flex: 1;
      }
      .mark {
        width: 16px;
        flex: none;
        text-align: center;
        color: var(--accent);
        font-weight: 700;
      }
      svg.sign {
        color: var(--muted);
      }
      .danger svg.sign {
        color: inherit;
      }
      .chord {
        color: var(--muted);
        font-size: 12px;
      }
      hr {
        margin: 5px 4px;
        border: 0;
        border-top: 1px solid var(--line);
      }
      @media (pointer: coarse) {
        .chord {
          display: none;
        }
      }
    `,
  ];
  declare items: readonly MenuItem[];
  declare label: string;
  #anchor: HTMLElement | null = null;

  constructor() {
    super();
    this.items = [];
    this.label = "";
  }

  /** Open at a button; closes, and gives the keyboard back to it, when something is chosen or dismissed. */
  async open(anchor: HTMLElement, label: string, items: readonly MenuItem[]): Promise<void> {
    const isSecond = this.#anchor === anchor && this.#menu?.matches(":popover-open");
    this.close();
    if (isSecond) return;
    this.#anchor = anchor;
    this.label = label;
    this.items = items;
    await this.updateComplete;
    const menu = this.#menu;
    if (!menu || items.length === 0) return;
    menu.showPopover();
    anchor.setAttribute("aria-expanded", "true");
    place(menu, anchor.getBoundingClientRect());
    this.#buttons[0]?.focus();
  }

  close(): void {
    if (this.#menu?.matches(":popover-open")) this.#menu.hidePopover();
  }

  override render(): TemplateResult {
    return html`<div
      class="menu"
      role="menu"
      popover="auto"
      aria-label=${this.label}
      @keydown=${this.#onKey}
      @toggle=${this.#onToggle}
    >
      ${this.items.map((item) => this.#item(item))}
    </div>`;
  }

  #item(item: MenuItem): TemplateResult {
    const role = item.checked === undefined ? "menuitem" : item.radio ? "menuitemradio" : "menuitemcheckbox";
    const mark = html`<span class="mark" aria-hidden="true">${item.checked ? "✓" : ""}</span>`;
    return html`${item.apart ? html`<hr role="separator" />` : nothing}
      <button
        type="button"
        role=${role}
        tabindex="-1"
        class=${item.danger ? "danger" : ""}
        aria-checked=${item.checked === undefined ? nothing : item.checked}
        @click=${() => this.#choose(item)}
      >
        ${item.sign ? sign(item.sign) : mark}
        <span class="label">${item.label}</span>
        ${item.chord ? html`<span class="chord" aria-hidden="true">${item.chord}</span>` : nothing}
      </button>`;
  }

  get #menu(): HTMLElement | null {
    return this.renderRoot.querySelector<HTMLElement>(".menu");
  }

  get #buttons(): HTMLElement[] {
    return [...this.renderRoot.querySelectorAll<HTMLElement>("button")];
  }

  #choose(item: MenuItem): void {
    const anchor = this.#anchor;
    this.close();
    anchor?.focus();
    act(anchor ?? this, item.command, item.about);
  }

  #onToggle(event: Event): void {
    if (!(event instanceof ToggleEvent) || event.newState !== "closed") return;
    this.#anchor?.setAttribute("aria-expanded", "false");
    // The browser gives the keyboard back to what it sees of a shadow tree from outside, which cannot take it. Who
    // clicked elsewhere has taken it there.
    const holder = activeElement();
    if (holder === document.body || this.#buttons.some((button) => button === holder)) this.#anchor?.focus();
  }

  #onKey(event: KeyboardEvent): void {
    const buttons = this.#buttons;
    const at = buttons.findIndex((button) => button.matches(":focus"));
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (next !== undefined) buttons.at(next % buttons.length)?.focus();
    else if (event.key === "Tab") this.close();
    else if (event.key.length === 1 && event.key !== " ") startingWith(buttons, at, event.key)?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** Below the anchor, its end at the anchor's end; above where there is no room, never outside the window. */
function place(menu: HTMLElement, anchor: DOMRect): void {
  const { width, height } = menu.getBoundingClientRect();
  const isLeft = anchor.left + anchor.width / 2 < window.innerWidth / 2;
  const left = isLeft ? anchor.left : anchor.right - width;
  const below = anchor.bottom + 4;
  const top = below + height <= window.innerHeight - EDGE ? below : anchor.top - 4 - height;
  menu.style.left = `${Math.max(EDGE, Math.min(left, window.innerWidth - width - EDGE))}px`;
  menu.style.top = `${Math.max(EDGE, Math.min(top, window.innerHeight - height - EDGE))}px`;
}

/** Return the next one whose label begins with a letter, as menus of systems do. */
function startingWith(buttons: readonly HTMLElement[], at: number, letter: string): HTMLElement | undefined {
  const around = [...buttons.slice(at + 1), ...buttons.slice(0, at + 1)];
  return around.find((button) => {
    const label = button.querySelector(".label")?.textContent ?? "";
    return label.toLowerCase().startsWith(letter.toLowerCase());
  });
}

customElements.define("console-menu", ConsoleMenu);

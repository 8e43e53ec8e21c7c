// <session-menu>: what can be done with a session, as a menu beside its row.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { controls } from "./controls.ts";
import { isLiving, type Session, titleOf } from "./session.ts";
import { type Sign, sign } from "./signs.ts";

export type SessionAction =
  | "here"
  | "split-right"
  | "split-down"
  | "tab"
  | "rename"
  | "change"
  | "keepalive"
  | "details"
  | "copy"
  | "end";

interface Item {
  readonly action: SessionAction;
  readonly label: string;
  readonly sign: Sign;
  readonly key?: string;
  readonly livingOnly?: boolean;
}

const ITEMS: readonly (readonly Item[])[] = [
  [
    { action: "here", label: "Open here", sign: "terminal", key: "Enter" },
    { action: "split-right", label: "Open to the right", sign: "right" },
    { action: "split-down", label: "Open below", sign: "down" },
    { action: "tab", label: "Open in a new tab", sign: "plus", key: "Ctrl+Enter" },
  ],
  [
    { action: "rename", label: "Rename", sign: "pencil", key: "F2", livingOnly: true },
    { action: "change", label: "Change…", sign: "options", livingOnly: true },
    { action: "keepalive", label: "Keep alive", sign: "clock", key: "K", livingOnly: true },
    { action: "details", label: "Details", sign: "eye", key: "Space" },
    { action: "copy", label: "Copy the id", sign: "link" },
  ],
  [{ action: "end", label: "End…", sign: "close", key: "Delete", livingOnly: true }],
];

/** Fires `session-action` {sessionId, action}. The one who shows it gets the focus back when it closes. */
export class SessionMenu extends LitElement {
  static override properties = { session: { attribute: false } };
  static override styles = [
    controls,
    css`
      [popover] {
        position: fixed;
        inset: auto;
        margin: 0;
        min-width: 220px;
        max-width: calc(100vw - 16px);
        max-height: calc(100vh - 16px);
        padding: 6px;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--raised);
        color: var(--text);
        box-shadow: 0 10px 34px var(--shadow);
        overflow: auto;
      }
      button {
        display: flex;
        width: 100%;
        padding: 0 10px;
        justify-content: start;
        border: 0;
        font-weight: 400;
      }
      button:focus-visible {
        outline-offset: -2px;
        background: var(--hover);
      }
      button span {
        flex: 1;
        text-align: start;
      }
      .danger-text {
        color: var(--bad);
      }
      hr {
        margin: 6px 4px;
        border: 0;
        border-top: 1px solid var(--line);
      }
    `,
  ];

  declare session: Session | null;
  #opener: HTMLElement | null = null;

  constructor() {
    super();
    this.session = null;
  }

  /** Whether it is on the screen now. */
  get isOpen(): boolean {
    return this.#panel?.matches(":popover-open") ?? false;
  }

  /** Show it at a place of the viewport, or below `opener`, which has the focus again when it is closed. */
  async show(session: Session, opener: HTMLElement, at?: { x: number; y: number }): Promise<void> {
    this.session = session;
    this.#opener = opener;
    await this.updateComplete;
    const panel = this.#panel;
    if (!panel) return;
    panel.showPopover();
    const below = opener.getBoundingClientRect();
    place(panel, at ?? { x: below.right - panel.offsetWidth, y: below.bottom + 4 });
    this.#buttons[0]?.focus();
  }

  hide(): void {
    if (this.isOpen) this.#panel?.hidePopover();
  }

  override render(): TemplateResult {
    const session = this.session;
    return html`<div
      popover
      role="menu"
      aria-label=${session ? `What to do with ${titleOf(session)}` : "Session"}
      @keydown=${this.#onKey}
      @toggle=${this.#onToggle}
      @click=${this.#onClick}
    >
      ${session ? ITEMS.map((group, place) => this.#group(group, session, place > 0)) : nothing}
    </div>`;
  }

  #group(items: readonly Item[], session: Session, isLater: boolean): TemplateResult | typeof nothing {
    const shown = items.filter((item) => !item.livingOnly || isLiving(session));
    if (shown.length === 0) return nothing;
    return html`${isLater ? html`<hr />` : nothing}${shown.map(
      (item) => html`<button
        role="menuitem"
        tabindex="-1"
        class="plain ${item.action === "end" ? "danger-text" : ""}"
        data-action=${item.action}
      >
        ${sign(item.sign)}<span>${item.label}</span>${item.key ? html`<kbd aria-hidden="true">${item.key}</kbd>` : nothing}
      </button>`,
    )}`;
  }

  get #panel(): HTMLElement | null {
    return this.renderRoot?.querySelector<HTMLElement>("[popover]") ?? null;
  }

  get #buttons(): HTMLElement[] {
    return [...this.renderRoot.querySelectorAll<HTMLElement>("[role=menuitem]")];
  }

  readonly #onClick = (event: Event): void => {
    const action = (event.target as Element).closest<HTMLElement>("[data-action]")?.dataset["action"];
    const sessionId = this.session?.session_id;
    if (!action || !sessionId) return;
    this.hide();
    this.#opener?.focus(); // before a dialog opens, which gives the focus back to who has it now
    this.dispatchEvent(new CustomEvent("session-action", { detail: { sessionId, action } }));
  };

  readonly #onToggle = (event: Event): void => {
    if ((event as ToggleEvent).newState !== "closed") return;
    const hasFocus = this.renderRoot instanceof ShadowRoot && this.renderRoot.activeElement !== null;
    if (hasFocus || document.activeElement === document.body) this.#opener?.focus();
  };

  readonly #onKey = (event: KeyboardEvent): void => {
    const buttons = this.#buttons;
    const at = buttons.findIndex((button) => button.matches(":focus"));
    const to = target(event.key, at, buttons.length) ?? this.#byLetter(event.key, at);
    if (to !== null) buttons[to]?.focus();
    else if (event.key === "Tab") this.hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  /** Letters go to the next item that begins so. */
  #byLetter(key: string, at: number): number | null {
    if (key.length !== 1 || key === " ") return null;
    const texts = this.#buttons.map((button) => button.textContent?.trim().toLowerCase() ?? "");
    for (let step = 1; step <= texts.length; step++) {
      const place = (at + step) % texts.length;
      if (texts[place]?.startsWith(key.toLowerCase())) return place;
    }
    return null;
  }
}

function target(key: string, at: number, count: number): number | null {
  if (key === "ArrowDown") return (at + 1) % count;
  if (key === "ArrowUp") return (at - 1 + count) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}

/** Move a panel to a point, or as near to it as the window allows. */
function place(panel: HTMLElement, { x, y }: { x: number; y: number }): void {
  const left = Math.min(x, window.innerWidth - panel.offsetWidth - 8);
  const top = Math.min(y, window.innerHeight - panel.offsetHeight - 8);
  panel.style.left = `${Math.max(8, left)}px`;
  panel.style.top = `${Math.max(8, top)}px`;
}

customElements.define("session-menu", SessionMenu);

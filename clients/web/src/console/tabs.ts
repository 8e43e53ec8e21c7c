// The strip of tabs. Arrow keys go from one to the next, Delete closes; what a tab holds stays where it runs.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { act } from "./act.ts";
import { controls } from "./controls.ts";
import { dotStyles } from "./dot.ts";
import { sign } from "./signs.ts";

export type Tone = "good" | "warn" | "bad" | "off";

export interface TabLabel {
  readonly key: string;
  readonly name: string;
  /** What the program in front calls its window; "" if nothing. */
  readonly title: string;
  /** How many panes it has. */
  readonly panes: number;
  readonly tone: Tone;
  /** What the tone means. */
  readonly state: string;
  /** Something happened there that nobody has looked at. */
  readonly rang: boolean;
}

export class ConsoleTabs extends LitElement {
  static override properties = { tabs: { attribute: false }, active: { type: Number } };
  static override styles = [
    controls,
    dotStyles,
    css`
      :host {
        display: flex;
        align-items: stretch;
        min-width: 0;
        height: var(--tabs);
        background: var(--ground);
        border-bottom: 1px solid var(--line);
      }
      [role="tablist"] {
        display: flex;
        min-width: 0;
        overflow-x: auto;
        scrollbar-width: none;
      }
      [role="tab"] {
        position: relative;
        flex: 0 1 auto;
        max-width: 280px;
        min-width: 92px;
        min-height: 0;
        justify-content: flex-start;
        gap: 8px;
        padding: 0 6px 0 12px;
        border: 0;
        border-inline-end: 1px solid var(--line);
        border-radius: 0;
        background: transparent;
        color: var(--muted);
        font-weight: 400;
      }
      [role="tab"]:hover {
        background: var(--hover);
      }
      [role="tab"][aria-selected="true"] {
        background: var(--surface);
        color: var(--text);
        box-shadow: inset 0 2px var(--accent);
      }
      :focus-visible {
        outline-offset: -3px;
      }
      .name {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        text-overflow: ellipsis;
        text-align: start;
      }
      .title {
        margin-inline-start: 7px;
        color: var(--muted);
      }
      .count {
        padding: 0 5px;
        border: 1px solid var(--line);
        border-radius: 9px;
        font-size: 11px;
        color: var(--muted);
      }
      .rang {
        color: var(--accent);
      }
      .close {
        display: grid;
        place-items: center;
        flex: none;
        width: 24px;
        height: 24px;
        border-radius: 4px;
        opacity: 0;
      }
      .close svg {
        width: 12px;
        height: 12px;
      }
      [role="tab"]:is(:hover, :focus-visible, [aria-selected="true"]) .close {
        opacity: 1;
      }
      .close:hover {
        background: var(--pressed);
      }
      .new {
        flex: none;
        width: var(--tabs);
        min-height: 0;
        border-radius: 0;
      }
      @media (pointer: coarse) {
        .close {
          width: 44px;
          height: 44px;
          opacity: 1;
        }
      }
      .hidden {
        position: absolute;
        width: 1px;
        height: 1px;
        overflow: hidden;
        clip-path: inset(50%);
        white-space: nowrap;
      }
    `,
  ];
  declare tabs: readonly TabLabel[];
  declare active: number;

  constructor() {
    super();
    this.tabs = [];
    this.active = 0;
  }

  override render(): TemplateResult {
    return html`<div role="tablist" aria-label="Open terminals" @keydown=${this.#onKey}>
        ${repeat(
          this.tabs,
          ({ key }) => key,
          (tab, index) => this.#tab(tab, index),
        )}
      </div>
      <button
        type="button"
        class="icon new"
        title="New session"
        aria-label="New session"
        @click=${() => act(this, "new")}
      >
        ${sign("plus")}
      </button>`;
  }

  override updated(changed: PropertyValues): void {
    if (changed.has("active")) this.#buttons[this.active]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Give the keyboard to the active tab. */
  override focus(): void {
    this.#buttons[this.active]?.focus();
  }

  #tab(tab: TabLabel, index: number): TemplateResult {
    const isActive = index === this.active;
    const hasTitle = tab.title !== "" && tab.title !== tab.name;
    return html`<button
      type="button"
      role="tab"
      id="tab-${tab.key}"
      aria-selected=${isActive}
      tabindex=${isActive ? 0 : -1}
      title=${hasTitle ? `${tab.name} ${tab.title}` : tab.name}
      @click=${(event: MouseEvent) => this.#onClick(event, index)}
      @auxclick=${(event: MouseEvent) => event.button === 1 && act(this, "close-tab", { tab: index })}
    >
      <span class="dot ${tab.tone}" aria-hidden="true"></span>
      <span class="name">${tab.name}${hasTitle ? html`<span class="title">${tab.title}</span>` : nothing}</span>
      ${tab.rang ? html`<span class="rang" title="It rang the bell"><span class="hidden">rang the bell</span>●</span>` : nothing}
      ${tab.panes > 1 ? html`<span class="count" title="${tab.panes} panes">${tab.panes}<span class="hidden"> panes</span></span>` : nothing}
      <span class="hidden">${tab.state}</span>
      <span class="close" aria-hidden="true" title="Close (the session goes on)">${sign("close")}</span>
    </button>`;
  }

  get #buttons(): HTMLElement[] {
    return [...this.renderRoot.querySelectorAll<HTMLElement>('[role="tab"]')];
  }

  #onClick(event: MouseEvent, index: number): void {
    const isClose = event.target instanceof Element && event.target.closest(".close") !== null;
    act(this, isClose ? "close-tab" : "show-tab", { tab: index });
  }

  #onKey(event: KeyboardEvent): void {
    const buttons = this.#buttons;
    const at = buttons.findIndex((button) => button.matches(":focus"));
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (next !== undefined) buttons.at(next % buttons.length)?.focus();
    else if (event.key === "Delete" && at >= 0) act(this, "close-tab", { tab: at });
    else return;
    event.preventDefault();
  }
}

customElements.define("console-tabs", ConsoleTabs);

// One pane: a slim header, and the terminal below it. Moves by style alone, so that a terminal is never made anew.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { TerminalSession } from "../element/index.ts";
import { act } from "./act.ts";
import type { Api } from "./api.ts";
import { controls } from "./controls.ts";
import { dotStyles } from "./dot.ts";
import type { Pane, Rect } from "./layout.ts";
import { type PaneState, toneOf, wordsFor } from "./pane_states.ts";
import { type Sign, sign } from "./signs.ts";
import type { Look } from "./theme.ts";

export interface PaneLook {
  readonly theme: Look;
  readonly fontSize: number;
}

export class ConsolePane extends LitElement {
  static override properties = {
    pane: { attribute: false },
    state: { attribute: false },
    name: { attribute: false },
    rect: { attribute: false },
    look: { attribute: false },
    api: { attribute: false },
    isFocused: { type: Boolean, attribute: "focused", reflect: true },
    isAlone: { type: Boolean, attribute: "alone", reflect: true },
    isNarrow: { type: Boolean, attribute: "narrow", reflect: true },
    isZoomed: { type: Boolean },
    others: { type: Number },
  };
  static override styles = [
    controls,
    dotStyles,
    css`
      :host {
        position: absolute;
        display: flex;
        flex-direction: column;
        overflow: hidden;
        background: var(--terminal);
        container-type: inline-size;
      }
      header {
        display: flex;
        flex: none;
        align-items: center;
        gap: 2px;
        height: 32px;
        padding-inline: 10px 3px;
        border-bottom: 1px solid var(--line);
        background: var(--surface);
        color: var(--muted);
      }
      /* One pane fills its tab: its buttons lie beside the tabs, which name it. */
      :host([alone]:not([narrow])) {
        overflow: visible;
      }
      :host([alone]:not([narrow])) header {
        position: absolute;
        inset: calc(-1 * var(--tabs)) 0 auto auto;
        height: calc(var(--tabs) - 1px);
        border: 0;
        background: none;
      }
      :host([alone]:not([narrow])) .last {
        display: none; /* the tab has one */
      }
      :host([alone]:not([narrow])) :is(header > .dot, h2) {
        position: absolute;
        width: 1px;
        height: 1px;
        overflow: hidden;
        clip-path: inset(50%);
      }
      :host([focused]:not([alone])) header {
        box-shadow: inset 0 2px var(--accent);
        color: var(--text);
      }
      .dot {
        margin-inline-end: 7px;
      }
      h2 {
        flex: 1;
        min-width: 0;
        margin: 0;
        overflow: hidden;
        font: inherit;
        font-weight: 500;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .title {
        margin-inline-start: 8px;
        font-weight: 400;
        color: var(--muted);
      }
      header button {
        min-height: 26px;
        width: 28px;
      }
      header button.badge {
        width: auto;
        gap: 5px;
        padding: 0 7px;
        border: 1px solid var(--line);
        font-size: 12px;
        color: var(--text);
      }
      .badge svg.sign {
        width: 13px;
        height: 13px;
      }
      terminal-session {
        --terminal-ui-font: var(--font);
        --terminal-accent: var(--accent);
        flex: 1;
        min-height: 0;
        min-width: 0;
      }
      header button.next {
        width: auto;
        margin-inline: 4px;
        padding: 0 10px;
        font-size: 13px;
      }
      .hidden {
        position: absolute;
        width: 1px;
        height: 1px;
        overflow: hidden;
        clip-path: inset(50%);
      }
      :host([narrow]) header {
        height: 48px;
        padding-inline-start: 12px;
      }
      :host([narrow]) header button {
        min-height: 44px;
        width: 44px;
      }
      :host([narrow]) header button.badge {
        width: auto;
      }
      :host([narrow]) .desktop {
        display: none;
      }
      @media (pointer: coarse) {
        header {
          height: 48px;
        }
        header button {
          min-height: 44px;
          width: 44px;
        }
      }
      @container (max-width: 330px) {
        .spare {
          display: none;
        }
      }
    `,
  ];
  declare pane: Pane;
  declare state: PaneState;
  declare name: string;
  declare rect: Rect;
  declare look: PaneLook;
  declare api: Api;
  declare isFocused: boolean;
  declare isAlone: boolean;
  declare isNarrow: boolean;
  /** It hides the other panes of its tab. */
  declare isZoomed: boolean;
  /** How many panes are open beside this one, for the switch on phones. */
  declare others: number;

  get terminal(): TerminalSession | null {
    return this.renderRoot.querySelector("terminal-session");
  }

  /** Give the keyboard to the terminal. */
  override focus(): void {
    this.terminal?.focus();
  }

  override render(): TemplateResult {
    const { pane, look } = this;
    return html`<header @dblclick=${this.#onDoubleClick}>${this.#heading()} ${this.#badges()} ${this.#buttons()}</header>
      <terminal-session
        images
        session=${pane.session}
        access=${pane.readOnly ? "viewer" : "writer"}
        mode=${this.state.frozen ? "frozen" : pane.live ? "live" : "exact"}
        theme=${look.theme}
        font-size=${look.fontSize}
        .ticket=${this.#ticket}
      ></terminal-session>`;
  }

  override updated(changed: PropertyValues): void {
    this.role = "group";
    this.ariaLabel = `Terminal ${this.name}`;
    if (changed.has("rect")) {
      const { x, y, width, height } = this.rect;
      this.style.left = `${x * 100}%`;
      this.style.top = `${y * 100}%`;
      this.style.width = `${width * 100}%`;
      this.style.height = `${height * 100}%`;
    }
  }

  #heading(): TemplateResult {
    const { state, title } = this.state;
    return html`<span class="dot ${toneOf(state)}" title=${wordsFor(state)}></span>
      <h2 title=${title || this.name}>
        ${this.name}<span class="hidden">, ${wordsFor(state)}</span>
        ${title && title !== this.name ? html`<span class="title spare">${title}</span>` : nothing}
      </h2>`;
  }

  #badges(): TemplateResult {
    const { pane } = this;
    return html`
      ${this.isZoomed ? this.#badge("zoom", "Zoomed", "Show the other panes again", "zoom") : nothing}
      ${pane.readOnly ? this.#badge("eye", "Read only", "Type here again", "read-only") : nothing}
      ${this.state.frozen ? this.#badge("stop", "Frozen", "Go on showing output", "freeze") : nothing}
      ${pane.live && !this.state.frozen ? this.#badge("forward", "Live", "Show every byte again", "live") : nothing}
    `;
  }

  #badge(picture: Sign, text: string, what: string, command: string): TemplateResult {
    return html`<button type="button" class="badge" title=${what} @click=${() => this.#act(command)}>
      ${sign(picture)}<span>${text}</span>
    </button>`;
  }

  #buttons(): TemplateResult {
    const others = this.others > 0;
    return html`
      ${this.#next()}
      ${
        this.isNarrow && others
          ? html`<button
              type="button"
              class="badge switch"
              aria-haspopup="menu"
              aria-expanded="false"
              aria-label="Switch terminal, ${this.others + 1} open"
              @click=${() => this.#act("switch")}
            >
              ${this.others + 1} open
            </button>`
          : nothing
      }
      ${this.#button("right", "Split right", "split-right", "desktop spare")}
      ${this.#button("down", "Split down", "split-down", "desktop spare")}
      <button
        type="button"
        class="icon menu"
        title="More"
        aria-label="More for ${this.name}"
        aria-haspopup="menu"
        aria-expanded="false"
        @click=${() => this.#act("pane-menu")}
      >
        ${sign("more")}
      </button>
      ${this.#button("close", "Close (the session goes on)", "close-pane", "last")}
    `;
  }

  #button(picture: Sign, label: string, command: string, kind = ""): TemplateResult {
    return html`<button
      type="button"
      class="icon ${kind}"
      title=${label}
      aria-label=${label}
      @click=${() => this.#act(command)}
    >
      ${sign(picture)}
    </button>`;
  }

  /** When there is nothing more to do here, what to do next. */
  #next(): TemplateResult | typeof nothing {
    const { state } = this.state;
    if (state !== "ended" && state !== "refused") return nothing;
    return html`<button type="button" class="primary next" @click=${() => this.#act("new-here")}>
      New session here
    </button>`;
  }

  #onDoubleClick(event: MouseEvent): void {
    if (event.target instanceof Element && !event.target.closest("button")) this.#act("zoom");
  }

  /** A service that wants to know who we are is not asked again before somebody has signed in. */
  readonly #ticket = async (): Promise<string | null> => {
    const { api, pane } = this;
    if (api.signInProblem !== null) {
      await new Promise((resolve) => api.addEventListener("signed-in", resolve, { once: true }));
    }
    return api.ticketFor(pane.session, pane.readOnly ? "viewer" : "writer");
  };

  #act(command: string): void {
    act(this, command, { pane: this.pane.key });
  }
}

customElements.define("console-pane", ConsolePane);

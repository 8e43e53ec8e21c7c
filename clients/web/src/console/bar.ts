// The bar at the top: where one is, what can be begun, how the service is.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { act } from "./act.ts";
import { ariaChord, spoken } from "./chords.ts";
import { controls } from "./controls.ts";
import { dotStyles } from "./dot.ts";
import type { Choice } from "./preferences.ts";
import type { Pulse } from "./roster.ts";
import { type Sign, sign } from "./signs.ts";
import { VIEWS, type View } from "./workspace.ts";

export const VIEW_NAMES: Record<View, string> = {
  terminals: "Terminals",
  sessions: "Sessions",
  metrics: "Metrics",
  health: "Health",
};
export const VIEW_SIGNS: Record<View, Sign> = {
  terminals: "terminal",
  sessions: "sessions",
  metrics: "metrics",
  health: "health",
};
const CHOICE_NAMES: Record<Choice, string> = { auto: "as the system", light: "light", dark: "dark" };

export class ConsoleBar extends LitElement {
  static override properties = {
    view: {},
    choice: {},
    pulse: { attribute: false },
    isNarrow: { type: Boolean },
    isSignedIn: { type: Boolean },
    isDrawerOpen: { type: Boolean },
  };
  static override styles = [
    controls,
    dotStyles,
    css`
      :host {
        display: block;
        background: var(--surface);
        border-bottom: 1px solid var(--line);
      }
      header {
        display: flex;
        align-items: center;
        gap: 6px;
        height: var(--bar);
        padding-inline: 10px;
        padding-top: env(safe-area-inset-top);
        box-sizing: content-box;
      }
      h1 {
        display: flex;
        align-items: center;
        gap: 9px;
        margin: 0 10px 0 4px;
        font-size: 15px;
        font-weight: 650;
        letter-spacing: -0.01em;
        white-space: nowrap;
      }
      .logo {
        display: grid;
        place-items: center;
        width: 24px;
        height: 24px;
        border-radius: 6px;
        background: var(--accent-fill);
        color: var(--on-accent);
      }
      nav {
        display: flex;
        gap: 2px;
      }
      nav button {
        padding: 0 11px;
        border-color: transparent;
        background: transparent;
        color: var(--muted);
      }
      nav button:hover {
        background: var(--hover);
        color: var(--text);
      }
      nav button[aria-current] {
        background: var(--hover);
        color: var(--text);
      }
      .space {
        flex: 1;
      }
      .find {
        gap: 9px;
        padding: 0 8px 0 11px;
        border-color: var(--line);
        color: var(--muted);
        font-weight: 400;
      }
      .both {
        display: flex;
        gap: 1px;
        margin-inline: 2px 4px;
      }
      .both > :first-child {
        border-start-end-radius: 0;
        border-end-end-radius: 0;
      }
      .both > .options {
        width: var(--control);
        padding: 0;
        border-start-start-radius: 0;
        border-end-start-radius: 0;
      }
      .dot {
        width: 10px;
        height: 10px;
      }
      .dot.bad {
        outline: 3px solid var(--bad-soft);
      }
      @media (max-width: 1080px) {
        .find kbd {
          display: none;
        }
        .find .ask {
          position: absolute;
          width: 1px;
          height: 1px;
          overflow: hidden;
          clip-path: inset(50%);
        }
        .find {
          width: var(--control);
          padding: 0;
          border-color: transparent;
          background: transparent;
        }
      }
      @media (max-width: 860px) {
        nav svg.sign {
          display: none;
        }
        h1 .words {
          display: none;
        }
      }
      @media (max-width: 640px) {
        header {
          padding-inline: 4px;
          gap: 2px;
        }
        h1 .words {
          display: inline;
        }
        h1 {
          margin: 0 2px;
        }
        .logo {
          display: none;
        }
      }
    `,
  ];
  declare view: View;
  declare choice: Choice;
  declare pulse: Pulse;
  declare isNarrow: boolean;
  declare isSignedIn: boolean;
  declare isDrawerOpen: boolean;

  override render(): TemplateResult {
    return html`<header>
      ${this.isNarrow || this.view === "terminals" ? this.#drawer() : nothing}
      <h1><span class="logo" aria-hidden="true">${sign("terminal")}</span><span class="words">Terminal Service</span></h1>
      ${this.isNarrow ? nothing : this.#views()}
      <span class="space"></span>
      ${this.#palette()}
      ${
        this.isNarrow
          ? this.#icon("plus", "New session", "new")
          : html`<span class="both"
                ><button
                type="button"
                class="primary"
                title="New session (${spoken("Ctrl+Shift+Enter")})"
                aria-keyshortcuts=${ariaChord("Ctrl+Shift+Enter")}
                @click=${() => act(this, "new")}
              >
                ${sign("plus")}New session</button
                ><button
                  type="button"
                  class="primary options"
                  title="New session with options…"
                  aria-label="New session with options"
                  aria-haspopup="dialog"
                  @click=${() => act(this, "new-options")}
                >
                  ${sign("options")}
                </button></span
              >
              ${this.#icon(this.choice, `Theme: ${CHOICE_NAMES[this.choice]}`, "theme")}
              ${this.isSignedIn ? this.#icon("signout", "Sign out", "sign-out") : nothing}
              <button
                type="button"
                class="icon"
                title=${this.pulse.words}
                aria-label="${this.pulse.words}. Show health"
                @click=${() => act(this, "view-health")}
              >
                <span class="dot ${this.pulse.tone}"></span>
              </button>`
      }
    </header>`;
  }

  #drawer(): TemplateResult {
    return html`<button
      type="button"
      class="icon"
      title=${this.isNarrow ? "Menu" : "Sessions"}
      aria-label=${this.isNarrow ? "Menu" : "List of sessions"}
      aria-expanded=${this.isDrawerOpen}
      @click=${() => act(this, "sidebar")}
    >
      ${sign(this.isNarrow ? "menu" : "sidebar")}
    </button>`;
  }

  #views(): TemplateResult {
    return html`<nav aria-label="Views">
      ${VIEWS.map(
        (view) => html`<button
          type="button"
          aria-current=${view === this.view ? "page" : nothing}
          @click=${() => act(this, `view-${view}`)}
        >
          ${sign(VIEW_SIGNS[view])}${VIEW_NAMES[view]}
        </button>`,
      )}
    </nav>`;
  }

  #palette(): TemplateResult {
    return html`<button
      type="button"
      class="find ${this.isNarrow ? "icon" : ""}"
      title="Command palette (${spoken("Ctrl+Shift+P")})"
      aria-haspopup="dialog"
      aria-keyshortcuts=${ariaChord("Ctrl+Shift+P")}
      @click=${() => act(this, "palette")}
    >
      ${sign("search")}<span class="ask">Find or do…</span><kbd aria-hidden="true">Ctrl Shift P</kbd>
    </button>`;
  }

  #icon(picture: Sign, label: string, command: string): TemplateResult {
    return html`<button
      type="button"
      class="icon"
      title=${label}
      aria-label=${label}
      @click=${() => act(this, command)}
    >
      ${sign(picture)}
    </button>`;
  }
}

customElements.define("console-bar", ConsoleBar);

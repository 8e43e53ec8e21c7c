// The drawer of small screens: views, sessions, looks, and how the service is.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { act } from "./act.ts";
import type { Api } from "./api.ts";
import { VIEW_NAMES, VIEW_SIGNS } from "./bar.ts";
import { controls } from "./controls.ts";
import { dotStyles } from "./dot.ts";
import type { Choice } from "./preferences.ts";
import type { Pulse } from "./roster.ts";
import { sign } from "./signs.ts";
import { VIEWS, type View } from "./workspace.ts";

export class ConsoleDrawer extends LitElement {
  static override properties = {
    api: { attribute: false },
    current: { attribute: false },
    view: {},
    choice: {},
    pulse: { attribute: false },
    isOpen: { state: true },
  };
  static override styles = [
    controls,
    dotStyles,
    css`
      .drawer {
        width: min(340px, calc(100vw - 48px));
        height: 100dvh;
        max-height: none;
        margin: 0;
        border: 0;
        border-radius: 0;
        background: var(--surface);
      }
      .drawer[open] {
        display: flex;
        flex-direction: column;
      }
      .drawer .head {
        display: flex;
        align-items: center;
        justify-content: space-between;
        min-height: var(--bar);
        padding-inline: 16px 4px;
        padding-top: env(safe-area-inset-top);
        border-bottom: 1px solid var(--line);
      }
      .drawer h2 {
        margin: 0;
        font-size: 16px;
      }
      .drawer nav {
        display: grid;
        padding: 8px;
        border-bottom: 1px solid var(--line);
      }
      .drawer nav button {
        justify-content: flex-start;
        gap: 14px;
        border-color: transparent;
        background: transparent;
      }
      .drawer nav button[aria-current] {
        background: var(--accent-soft);
      }
      .drawer session-list {
        flex: 1;
        min-height: 0;
        overflow: auto;
      }
      .drawer footer {
        display: flex;
        gap: 4px;
        padding: 6px 8px calc(6px + env(safe-area-inset-bottom));
        border-top: 1px solid var(--line);
      }
      .drawer .pulse {
        display: inline-flex;
        align-items: center;
        gap: 10px;
        flex: 1;
        min-width: 0;
        overflow: hidden;
        justify-content: flex-start;
        text-overflow: ellipsis;
      }
      .dot {
        width: 10px;
        height: 10px;
      }
    `,
  ];
  declare api: Api;
  declare current: readonly string[];
  declare view: View;
  declare choice: Choice;
  declare pulse: Pulse;
  declare isOpen: boolean;

  constructor() {
    super();
    this.isOpen = false;
  }

  async open(): Promise<void> {
    this.#dialog?.showModal();
    this.isOpen = true; // the list looks only when it can be seen
    await this.updateComplete;
  }

  close(): void {
    this.#dialog?.close();
  }

  override render(): TemplateResult {
    return html`<dialog
      class="drawer"
      aria-label="Menu"
      @close=${() => {
        this.isOpen = false;
      }}
      @click=${this.#onClick}
      @open-session=${this.close}
      @new-session=${this.close}
    >
      <div class="head">
        <h2>Terminal Service</h2>
        <button type="button" class="icon" aria-label="Close menu" @click=${this.close}>${sign("close")}</button>
      </div>
      <nav aria-label="Views">${VIEWS.map((view) => this.#view(view))}</nav>
      ${this.isOpen ? html`<session-list .api=${this.api} .current=${this.current}></session-list>` : nothing}
      <footer>
        <button type="button" class="plain pulse" @click=${() => this.#go("view-health")}>
          <span class="dot ${this.pulse.tone}"></span>${this.pulse.words}
        </button>
        <button
          type="button"
          class="icon"
          aria-label="Theme: ${this.choice}"
          title="Theme: ${this.choice}"
          @click=${() => act(this, "theme")}
        >
          ${sign(this.choice)}
        </button>
        ${
          this.api.isSignedIn
            ? html`<button type="button" class="icon" aria-label="Sign out" @click=${() => this.#go("sign-out")}>
                ${sign("signout")}
              </button>`
            : nothing
        }
      </footer>
    </dialog>`;
  }

  #view(view: View): TemplateResult {
    return html`<button
      type="button"
      aria-current=${view === this.view ? "page" : nothing}
      @click=${() => this.#go(`view-${view}`)}
    >
      ${sign(VIEW_SIGNS[view])}${VIEW_NAMES[view]}
    </button>`;
  }

  get #dialog(): HTMLDialogElement | null {
    return this.renderRoot.querySelector("dialog");
  }

  #go(command: string): void {
    this.close();
    act(this, command);
  }

  #onClick(event: MouseEvent): void {
    if (event.target === this.#dialog) this.close(); // beside the drawer
  }
}

customElements.define("console-drawer", ConsoleDrawer);

// <end-session>: asks before a program is ended.
import { css, html, LitElement, type TemplateResult } from "lit";
import { controls } from "./controls.ts";
import { plural } from "./format.ts";
import { programOf, type Session, titleOf } from "./session.ts";

/** A question with two answers. */
export class EndSession extends LitElement {
  static override properties = { session: { attribute: false } };
  static override styles = [
    controls,
    css`
      dialog {
        width: min(420px, calc(100vw - 32px));
        padding: 20px;
      }
      h2 {
        margin: 0 0 8px;
        font-size: 1.15em;
        overflow-wrap: anywhere;
      }
      p {
        margin: 0 0 16px;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      form {
        display: flex;
        justify-content: end;
        gap: 8px;
      }
    `,
  ];

  declare session: Session | null;

  constructor() {
    super();
    this.session = null;
  }

  /** Ask; resolves to whether the session is to be ended. */
  async ask(session: Session): Promise<boolean> {
    this.session = session;
    await this.updateComplete;
    const dialog = this.renderRoot.querySelector("dialog");
    if (!dialog) return false;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "end"), { once: true });
    });
  }

  override render(): TemplateResult {
    const { session } = this;
    const others = session?.viewers.length ?? 0;
    return html`<dialog aria-labelledby="title" aria-describedby="text">
      <h2 id="title">End “<bdi>${session ? titleOf(session) : ""}</bdi>”?</h2>
      <p id="text">
        <bdi>${session ? programOf(session) : ""}</bdi>${session?.pid ? ` (pid ${session.pid})` : ""} and everything it
        has started are ended. Its output stays readable for a while.
        ${others ? html`<br />${plural(others, "viewer is", "viewers are")} attached.` : ""}
      </p>
      <form method="dialog">
        <button value="" autofocus>Cancel</button>
        <button value="end" class="danger">End the session</button>
      </form>
    </dialog>`;
  }
}

customElements.define("end-session", EndSession);

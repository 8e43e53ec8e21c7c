import { TerminalSession } from "./terminal_session.ts";

export type { Modifiers } from "./keys.ts";
export { THEMES } from "./themes.ts";
export { TerminalSession };

// A page may load the element twice, as its own bundle and as another's: the first one stays.
if (!customElements.get("terminal-session")) customElements.define("terminal-session", TerminalSession);

declare global {
  interface HTMLElementTagNameMap {
    "terminal-session": TerminalSession;
  }
}

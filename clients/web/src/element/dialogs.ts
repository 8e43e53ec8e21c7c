// Questions that must be answered before something is sent or opened. Native modal dialogs: they hold the focus and know Esc.
import { html, nothing } from "lit";
import type { LinkTarget } from "./link_check.ts";
import { asOneLine, type Paste, preview } from "./paste_text.ts";
import { formatBytes } from "./texts.ts";

export type Question =
  | { kind: "paste"; paste: Paste; answer(paste: Paste | null): void }
  | { kind: "link"; text: string; target: LinkTarget; answer(open: boolean): void };

/** The dialog for a question, or nothing. Whoever renders it calls `showModal()` on it. */
export function dialog(question: Question | null) {
  if (question === null) return nothing;
  return question.kind === "paste" ? pasteDialog(question) : linkDialog(question);
}

/** The answer that Esc gives. */
export function cancel(question: Question): void {
  if (question.kind === "paste") question.answer(null);
  else question.answer(false);
}

/** Take Esc for that answer, which closes the dialog. The event does not bubble: it is heard at the dialog alone. */
function onCancel(question: Question) {
  return (event: Event) => {
    event.preventDefault();
    cancel(question);
  };
}

/** "3 lines, 1.2 KB; 4 control characters were taken out". */
export function pasteSummary(paste: Paste): string {
  const lines = paste.lines === 1 ? "1 line" : `${paste.lines} lines`;
  const removed = paste.removed === 1 ? "1 control character was" : `${paste.removed} control characters were`;
  return `${lines}, ${formatBytes(paste.bytes)}${paste.removed > 0 ? `; ${removed} taken out` : ""}`;
}

function pasteDialog(question: Extract<Question, { kind: "paste" }>) {
  const { paste, answer } = question;
  const ends = paste.text.endsWith("\r");
  return html`<dialog class="ask" part="dialog paste-dialog" aria-labelledby="question" aria-describedby="facts" @cancel=${onCancel(question)}>
    <h2 id="question">Paste this into the terminal?</h2>
    <p id="facts">
      ${pasteSummary(paste)}.
      ${ends ? "It ends with a line end: a shell runs the last line at once." : nothing}
    </p>
    <pre class="preview" tabindex="0" aria-label="What would be pasted">${preview(paste)}</pre>
    <div class="choices">
      <button class="main" autofocus @click=${() => answer(paste)}>Paste</button>
      ${paste.lines > 1 ? html`<button @click=${() => answer(asOneLine(paste))}>Paste as one line</button>` : nothing}
      <button @click=${() => answer(null)}>Cancel</button>
    </div>
  </dialog>`;
}

function linkDialog(question: Extract<Question, { kind: "link" }>) {
  const { text, target, answer } = question;
  return html`<dialog class="ask" part="dialog link-dialog" aria-labelledby="question" @cancel=${onCancel(question)}>
    <h2 id="question">Open ${target.where}?</h2>
    <p>The text says <q>${text.slice(0, 200)}</q>; it leads to:</p>
    <pre class="preview" tabindex="0" aria-label="Address">${target.href}</pre>
    <div class="choices">
      <button autofocus @click=${() => answer(false)}>Cancel</button>
      <button class="main" @click=${() => answer(true)}>Open</button>
    </div>
  </dialog>`;
}

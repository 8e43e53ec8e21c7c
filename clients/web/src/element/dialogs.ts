// Questions that must be answered before something is sent or opened. Native modal dialogs: they hold the focus and know Esc.
import { html, nothing } from "lit";
import type { LinkTarget } from "./link_check.ts";
import { asOneLine, type Paste, preview } from "./paste_text.ts";
import { formatBytes } from "./texts.ts";

export type Question =
  | { kind: "paste"; paste: Paste; answer(paste: Paste | null): void }
  | { kind: "link"; text: string; target: LinkTarget; answer(open: boolean): void };

/** The dialog for a question, or nothing. Whoever renders it calls `showModal()` on it, and closes it with the answer. */
export function dialog(question: Question | null) {
  if (question === null) return nothing;
  // Neither event bubbles. Esc cancels, and a browser may close a dialog without asking.
  const dismissed = (event: Event) => {
    event.preventDefault();
    const isAgainOpen = event.type === "close" && event.target instanceof HTMLDialogElement && event.target.open;
    if (!isAgainOpen) cancel(question); // else this is the end of the question before
  };
  const isPaste = question.kind === "paste";
  return html`<dialog
    class="ask"
    part="dialog ${question.kind}-dialog"
    aria-labelledby="question"
    aria-describedby=${isPaste ? "facts" : nothing}
    @cancel=${dismissed}
    @close=${dismissed}
  >
    ${isPaste ? pasteQuestion(question) : linkQuestion(question)}
  </dialog>`;
}

/** Give the answer that Esc gives. */
export function cancel(question: Question): void {
  if (question.kind === "paste") question.answer(null);
  else question.answer(false);
}

/** "3 lines, 1.2 KB; 4 control characters were taken out". */
export function pasteSummary(paste: Paste): string {
  const lines = paste.lines === 1 ? "1 line" : `${paste.lines} lines`;
  const removed = paste.removed === 1 ? "1 control character was" : `${paste.removed} control characters were`;
  return `${lines}, ${formatBytes(paste.bytes)}${paste.removed > 0 ? `; ${removed} taken out` : ""}`;
}

function pasteQuestion({ paste, answer }: Extract<Question, { kind: "paste" }>) {
  const ends = paste.text.endsWith("\r");
  return html`<h2 id="question">Paste this into the terminal?</h2>
    <p id="facts">
      ${pasteSummary(paste)}.
      ${ends ? "It ends with a line end: a shell runs the last line at once." : nothing}
    </p>
    <pre class="preview" tabindex="0" role="region" aria-label="What would be pasted">${preview(paste)}</pre>
    <div class="choices">
      <button class="main" autofocus @click=${() => answer(paste)}>Paste</button>
      ${paste.lines > 1 ? html`<button @click=${() => answer(asOneLine(paste))}>Paste as one line</button>` : nothing}
      <button @click=${() => answer(null)}>Cancel</button>
    </div>`;
}

function linkQuestion({ text, target, answer }: Extract<Question, { kind: "link" }>) {
  return html`<h2 id="question">Open ${target.where}?</h2>
    <p>The text says <q>${text.slice(0, 200)}</q>; it leads to:</p>
    <pre class="preview" tabindex="0" role="region" aria-label="Address">${target.href}</pre>
    <div class="choices">
      <button autofocus @click=${() => answer(false)}>Cancel</button>
      <button class="main" @click=${() => answer(true)}>Open</button>
    </div>`;
}

// How one session looks in the list. Only templates: what is done is the list's affair.
import { html, nothing, type TemplateResult } from "lit";
import { formatAgo, plainLine, plural } from "./format.ts";
import { endingOf, lifetimeOf } from "./lifetime.ts";
import { cutOffBy, isLiving, programOf, type Session, titleOf } from "./session.ts";
import { sign } from "./signs.ts";

/** What a row needs to know beside its session. `now` is the service's clock, in seconds. */
export interface RowLook {
  readonly now: number;
  /** The one row of all that the Tab key reaches. */
  readonly isCurrent: boolean;
  /** It is on the screen. */
  readonly isOpen: boolean;
  readonly isRenaming: boolean;
  readonly isBusy: boolean;
  readonly filterBy: (text: string) => void;
}

/** A row of the grid: name, output, viewers, time, what it is, menu. */
export function sessionRow(session: Session, look: RowLook): TemplateResult {
  const isOver = !isLiving(session);
  return html`
    <div
      role="row"
      class="row ${isOver ? "over" : ""} ${look.isBusy ? "busy" : ""} ${look.isOpen ? "open" : ""}"
      data-id=${session.session_id}
      tabindex=${look.isCurrent ? 0 : -1}
      aria-busy=${look.isBusy ? "true" : nothing}
    >
      <div role="gridcell" class="main">${stateMark(session)}${nameCell(session, look)}</div>
      <div role="gridcell" class="sub ${Object.keys(session.labels).length ? "labelled" : ""}">${subline(session, look)}</div>
      <div role="gridcell" class="output">${outputCell(session)}</div>
      <div role="gridcell" class="viewers">${viewersCell(session)}</div>
      ${lifeCells(session, look.now)}
      <div role="gridcell" class="about">${aboutCell(session, look.now)}</div>
      <div role="gridcell" class="tools">
        <button class="icon more" tabindex="-1" aria-haspopup="menu" aria-label="Menu of ${titleOf(session)}" title="Menu">
          ${sign("more")}
        </button>
      </div>
    </div>
  `;
}

function stateMark(session: Session): TemplateResult {
  const { state } = session;
  const cut = cutOffBy(session);
  if (cut) return html`<span class="mark" title=${cut}></span><span class="badge" title=${cut}>link lost</span> `;
  const isPlain = state === "running" || state === "ended"; // what a colour alone would say must be read too
  return html`<span class="mark ${state}" title=${state}></span
    ><span class=${isPlain ? "unseen" : `badge ${state}`}>${state}</span> `;
}

function nameCell(session: Session, look: RowLook): TemplateResult {
  if (look.isRenaming) {
    return html`<input
      class="rename"
      aria-label="New name of ${titleOf(session)}"
      maxlength="200"
      autocomplete="off"
      spellcheck="false"
      .defaultValue=${session.name}
      placeholder=${programOf(session)}
    />`;
  }
  return html`<bdi class="name" title=${titleOf(session)}>${titleOf(session)}</bdi>`;
}

/** What runs, where the name does not say it, else which one it is; and the labels. */
function subline(session: Session, look: RowLook): TemplateResult {
  const text = session.name ? programOf(session) : session.session_id.slice(0, 8);
  return html`<bdi class="program" title=${session.name ? text : session.session_id}>${text}</bdi> ${chips(session, look)}`;
}

function chips(session: Session, look: RowLook): TemplateResult | typeof nothing {
  const labels = Object.entries(session.labels);
  if (labels.length === 0) return nothing;
  return html`<span class="chips"
    >${labels.map(([name, value]) => {
      const text = value ? `${name}=${value}` : name;
      const filter = () => look.filterBy(`${name}=${value}`);
      return html`<button class="chip" tabindex="-1" title="Show only sessions with ${text}" @click=${filter}>
        <bdi>${text}</bdi>
      </button>`;
    })}</span
  >`;
}

function outputCell(session: Session): TemplateResult {
  const line = plainLine(session.last_line ?? "");
  if (line.trim())
    return html`<span class="unseen">Last output: </span><bdi class="line" dir="ltr" title=${line}>${line}</bdi>`;
  const progress = session.state === "preparing" ? session.notice?.message : "";
  const words = session.seq ? "" : progress || "no output yet";
  return html`<span class="line none" title=${words}>${words}</span>`;
}

function viewersCell(session: Session): TemplateResult | typeof nothing {
  const count = session.viewers.length;
  if (count === 0 && !isLiving(session)) return nothing;
  const names = session.viewers.map((viewer) => `${viewer.user} (${viewer.role})`).join(", ");
  return html`<span class="fact ${count ? "" : "none"}" title=${names || "nobody is attached"}>
    ${sign("eye")}<span aria-hidden="true">${count}</span><span class="unseen">${plural(count, "viewer")}</span>
  </span>`;
}

/** How long it lives, and why; how it ended, for one that has. */
function lifeCells(session: Session, now: number): TemplateResult {
  const life = lifetimeOf(session, now);
  if (life === null) {
    const ending = endingOf(session, now) ?? "";
    return html`<div role="gridcell" class="because" title=${ending}>${ending}</div>`;
  }
  return html`<div role="gridcell" class="life">
      <span class="fact left ${life.isSoon ? "soon" : ""}" title=${life.sentence}>
        ${sign("clock")}<span aria-hidden="true">${life.left}</span><span class="unseen">ends in ${life.left}</span>
      </span>
    </div>
    <div role="gridcell" class="because" title=${life.sentence}>${life.because}</div>`;
}

function aboutCell(session: Session, now: number): TemplateResult {
  const created = formatAgo(now - session.created_at);
  return html`<span>created ${created}</span>${session.pid === null ? nothing : html` <span>pid ${session.pid}</span>`}`;
}

// <session-details>: everything the service tells of one session.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { controls } from "./controls.ts";
import { formatAgo, formatBytes, formatDuration, formatMoment, formatSize } from "./format.ts";
import { lifetimeOf } from "./lifetime.ts";
import { programOf, type Session } from "./session.ts";

type Fact = readonly [string, string | TemplateResult | null];

/** `now` is the service's clock, in seconds. */
export class SessionDetails extends LitElement {
  static override properties = { session: { attribute: false }, now: { attribute: false } };
  static override styles = [
    controls,
    css`
      :host {
        display: block;
        padding: 10px 14px 14px;
        font-size: 13px;
        cursor: auto;
        user-select: text;
      }
      h2 {
        margin: 12px 0 4px;
        font-size: 13px;
      }
      dl {
        display: grid;
        grid-template-columns: fit-content(40%) minmax(0, 1fr);
        gap: 3px 14px;
        margin: 0;
      }
      dt {
        color: var(--muted);
      }
      dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      code {
        font: 12px / 1.5 var(--mono);
      }
      ol,
      ul {
        margin: 0;
        padding-inline-start: 1.2em;
      }
      li {
        overflow-wrap: anywhere;
      }
      time {
        color: var(--muted);
      }
    `,
  ];

  declare session: Session | null;
  declare now: number;

  constructor() {
    super();
    this.session = null;
    this.now = 0;
  }

  override render(): TemplateResult | typeof nothing {
    const { session } = this;
    if (!session) return nothing;
    return html`
      <dl>
        ${[...program(session), ...time(session, this.now), ...output(session)].map(([term, text]) =>
          text === null || text === "" ? nothing : html`<dt>${term}</dt><dd><bdi>${text}</bdi></dd>`,
        )}
      </dl>
      ${viewers(session)} ${this.#history(session)}
    `;
  }

  #history(session: Session): TemplateResult {
    return html`<h2>What happened</h2>
      <ol>
        ${session.history.map(
          (change) => html`<li>
            ${change.state}: ${change.reason},
            <time datetime=${isoOf(change.at)} title=${formatMoment(change.at)}>${formatAgo(this.now - change.at)}</time>
          </li>`,
        )}
      </ol>`;
  }
}

function program(session: Session): Fact[] {
  return [
    ["Id", html`<code>${session.session_id}</code>`],
    ["Program", html`<code>${programOf(session)}</code>`],
    ["Process", session.pid === null ? null : String(session.pid)],
    ["Exit", session.signal ?? (session.exit_code === null ? null : String(session.exit_code))],
    ["Ended because", [session.end_reason, session.end_message].filter(Boolean).join(": ") || null],
    ["Size", `${session.cols} columns, ${session.rows} rows${session.size_policy ? `, ${session.size_policy}` : ""}`],
    ["Owner", session.user_id],
    ["Backend", session.backend_reason ? `${session.backend} (${session.backend_reason})` : session.backend],
    ["Told last", session.notice?.message ?? null],
    [
      "Labels",
      Object.entries(session.labels)
        .map((label) => label.join("="))
        .join(", "),
    ],
  ];
}

function time(session: Session, now: number): Fact[] {
  return [
    ["Created", `${formatMoment(session.created_at)}, ${formatAgo(now - session.created_at)}`],
    ["Last used", `${formatMoment(session.last_activity)}, ${formatAgo(now - session.last_activity)}`],
    ["Lives without use", formatDuration(session.ttl_seconds)],
    ["Now", lifetimeOf(session, now)?.sentence ?? null],
  ];
}

function output(session: Session): Fact[] {
  const kept = session.seq === null || session.first === null ? null : session.seq - session.first;
  const limit = session.retention_bytes === null ? "" : `, at most ${formatSize(session.retention_bytes)}`;
  return [
    ["Output so far", session.seq === null ? null : formatBytes(session.seq)],
    ["Kept of it", kept === null ? null : `${formatBytes(kept)}${limit}`],
    ["Stored", session.storage.durable ? "on disk" : `in memory only: ${session.storage.reason}`],
  ];
}

function viewers(session: Session): TemplateResult | typeof nothing {
  if (session.viewers.length === 0) return nothing;
  return html`<h2>Attached</h2>
    <ul>
      ${session.viewers.map((viewer) => {
        const size = viewer.cols && viewer.rows ? `, ${viewer.cols} × ${viewer.rows}` : "";
        const behind = session.seq === null ? 0 : session.seq - viewer.position;
        return html`<li><bdi>${viewer.user}</bdi>, ${viewer.role}${size}${behind > 0 ? `, ${formatBytes(behind)} behind` : ""}</li>`;
      })}
    </ul>`;
}

function isoOf(at: number): string {
  return new Date(at * 1000).toISOString();
}

customElements.define("session-details", SessionDetails);

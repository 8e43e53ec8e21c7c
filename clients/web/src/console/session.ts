/** What the service tells of a session, and what it can be asked. Times are seconds since 1970, sizes characters. */

export type SessionState = "pending" | "preparing" | "running" | "ending" | "ended" | "error" | "lost";
export type SizePolicy = "smallest" | "latest" | "owner" | "fixed";

export interface Change {
  state: SessionState;
  reason: string;
  at: number;
}

export interface SessionViewer {
  client_id: string;
  user: string;
  role: string;
  rows: number | null;
  cols: number | null;
  position: number;
}

export interface Session {
  session_id: string;
  shell: string;
  command: string[] | null;
  pid: number | null;
  rows: number;
  cols: number;
  uptime: number;
  created_at: number;
  last_activity: number;
  last_bump: { source: string; at: number };
  /** Null once it has ended. */
  expires_at: number | null;
  /** When it ends whatever happens; null: never, or it has. */
  lifetime_ends_at: number | null;
  ttl_seconds: number;
  /** Client ids of the viewers that are activity by being there. */
  kept_alive_by: string[];
  state: SessionState;
  history: Change[];
  name: string;
  labels: Record<string, string>;
  user_id: string;
  backend: string;
  /** Why it runs there. */
  backend_reason: string;
  /** What the place where it runs has said last. */
  notice: { kind: string; message: string; timestamp: number } | null;
  viewers: SessionViewer[];
  /** Position after the last byte of output, and the oldest one kept; null if there is no output to be read. */
  seq: number | null;
  first: number | null;
  exit_code: number | null;
  signal: string | null;
  end_reason: string | null;
  /** More on how it ended. */
  end_message: string | null;
  storage: { durable: boolean; reason: string };
  keepalive: boolean;
  size_policy: SizePolicy | null;
  retention_bytes: number | null;
  /** The last line of its output as plain text. */
  last_line: string | null;
}

/** What a new session shall be; what is missing is the service's default. */
export interface NewSession {
  shell?: string;
  command?: string[];
  rows?: number;
  cols?: number;
  env?: Record<string, string>;
  backend?: string;
  cwd?: string;
  name?: string;
  labels?: Record<string, string>;
  ttl_seconds?: number;
  keepalive?: boolean;
  size_policy?: SizePolicy;
  retention_bytes?: number;
}

/** Somewhere to run a session. */
export interface Backend {
  name: string;
  kind: string | null;
  description: string;
  health: { state: "ok" | "failing" | "unknown"; reason: string };
  is_default: boolean;
}

/** A merge patch (RFC 7396): what is missing stays, null goes back to the default. */
export interface SessionChanges {
  name?: string;
  labels?: Record<string, string | null> | null;
  ttl_seconds?: number | null;
  size_policy?: SizePolicy | null;
}

export interface KeptAlive {
  session_id: string;
  expires_at: number | null;
  ttl_seconds: number;
  last_activity: number;
}

export interface Check {
  status: "ok" | "degraded" | "failed";
  detail: string;
}

export interface Health {
  status: "healthy" | "unhealthy";
  active_sessions: number;
  timestamp: number;
  checks: Record<string, Check>;
  /** Seconds since the service started, where it says so. */
  uptime?: number;
}

export interface Front {
  service: string;
  version: string;
  status: string;
  active_sessions: number;
  endpoints: Record<string, string>;
}

export interface Ticket {
  ticket: string;
  expires_in_seconds: number;
}

const LIVING: readonly SessionState[] = ["pending", "preparing", "running", "ending"];

/** Whether a session has not ended, in whatever way. */
export function isLiving(session: Session): boolean {
  return LIVING.includes(session.state);
}

/** Why a living session cannot be reached where it runs, "" if it can: told until the link is back. */
export function cutOffBy(session: Session): string {
  return isLiving(session) && session.notice?.kind === "link_lost" ? session.notice.message : "";
}

/** What people call a session: its name, or what runs in it. */
export function titleOf(session: Session): string {
  return session.name || programOf(session);
}

/** What runs in a session, as one line. */
export function programOf(session: Session): string {
  return session.command ? session.command.join(" ") : session.shell || "shell";
}

// Sessions as the service tells of them, for tests.
import type { Session } from "../../src/console/session.ts";

export const NOW = 1_800_000_000;

/** A session that runs, was created a minute ago and not used since; `change` it at will. */
export function session(change: Partial<Session> = {}): Session {
  const at = NOW - 60;
  return {
    session_id: "11111111-2222-3333-4444-555555555555",
    shell: "bash",
    command: null,
    pid: 4711,
    rows: 24,
    cols: 80,
    uptime: 60,
    created_at: at,
    last_activity: at,
    last_bump: { source: "created", at },
    expires_at: at + 3600,
    lifetime_ends_at: at + 604_800,
    ttl_seconds: 3600,
    kept_alive_by: [],
    state: "running",
    history: [{ state: "running", reason: "started", at }],
    name: "",
    labels: {},
    user_id: "ann",
    backend: "local",
    backend_reason: "the default",
    notice: null,
    viewers: [],
    seq: 0,
    first: 0,
    exit_code: null,
    signal: null,
    end_reason: null,
    end_message: null,
    storage: { durable: true, reason: "" },
    keepalive: true,
    size_policy: "smallest",
    retention_bytes: 16_777_216,
    last_line: null,
    ...change,
  };
}

/** One that exited with 3 a minute ago. */
export function ended(change: Partial<Session> = {}): Session {
  return session({
    state: "ended",
    expires_at: null,
    lifetime_ends_at: null,
    exit_code: 3,
    end_reason: "Process exited",
    history: [{ state: "ended", reason: "Process exited", at: NOW - 60 }],
    ...change,
  });
}

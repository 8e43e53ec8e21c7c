// What the frame knows of sessions and of the service's health: asked for now and then while somebody looks.
import type { Api } from "./api.ts";
import { explain } from "./problem.ts";
import { isLiving, type Session } from "./session.ts";
import type { Tone } from "./tabs.ts";

export interface Pulse {
  readonly tone: Tone;
  readonly words: string;
}

const EVERY_MS = 5000;
const UNKNOWN: Pulse = { tone: "off", words: "Asking how the service is" };

/** Tells "change" whenever it has asked. Nothing is asked while the page is hidden. */
export class Roster extends EventTarget {
  sessions: readonly Session[] = [];
  pulse: Pulse = UNKNOWN;
  /** Whether sessions were told of at least once. */
  isKnown = false;
  readonly #api: Api;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #running = false;
  #knownAt = 0;
  #asking: Promise<void> | null = null;

  constructor(api: Api) {
    super();
    this.#api = api;
  }

  get(sessionId: string): Session | undefined {
    return this.sessions.find((session) => session.session_id === sessionId);
  }

  /** Whether a session goes on, as far as is known. */
  isLiving(sessionId: string): boolean {
    const session = this.get(sessionId);
    return session !== undefined && isLiving(session);
  }

  get living(): number {
    return this.sessions.filter(isLiving).length;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#api.addEventListener("signed-in", this.#onVisible);
    this.#api.addEventListener("sessions-touched", this.#onVisible);
    void this.refresh();
  }

  stop(): void {
    this.#running = false;
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#api.removeEventListener("signed-in", this.#onVisible);
    this.#api.removeEventListener("sessions-touched", this.#onVisible);
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Take over what a list of sessions has just been told. */
  take(sessions: readonly Session[]): void {
    this.sessions = sessions;
    this.isKnown = true;
    this.#knownAt = Date.now();
    this.dispatchEvent(new Event("change"));
  }

  /** Put in what was just learnt of one session. */
  put(session: Session): void {
    const others = this.sessions.filter(({ session_id }) => session_id !== session.session_id);
    this.sessions = [...others, session];
    this.dispatchEvent(new Event("change"));
  }

  /** Ask now. Never rejects: that the service cannot be asked is what the pulse tells. */
  refresh(): Promise<void> {
    this.#knownAt = 0;
    return this.#refresh();
  }

  #refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
      this.#askLater();
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const [health] = await Promise.all([this.#askHealth(), this.#askSessions()]);
    this.pulse = health;
    this.dispatchEvent(new Event("change"));
  }

  async #askHealth(): Promise<Pulse> {
    try {
      const { status, checks } = await this.#api.health();
      const troubled = Object.entries(checks).filter(([, check]) => check.status !== "ok");
      if (status !== "healthy") return { tone: "bad", words: `The service cannot serve${named(troubled)}` };
      if (troubled.length > 0) return { tone: "warn", words: `The service works, with trouble${named(troubled)}` };
      return { tone: "good", words: "The service is healthy" };
    } catch (error) {
      return { tone: "bad", words: `No answer: ${explain(error)}` };
    }
  }

  /** What was known stays where nothing new is told; the pulse, or the sign-in, says why. */
  async #askSessions(): Promise<void> {
    if (this.#api.signInProblem !== null) return; // asked again once somebody has signed in
    if (Date.now() - this.#knownAt < EVERY_MS) return; // a list on the page asks oftener than we do
    try {
      this.sessions = await this.#api.list();
      this.isKnown = true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
  }

  #askLater(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (!this.#running || document.hidden) return;
    this.#timer = setTimeout(() => void this.#refresh(), EVERY_MS);
  }

  readonly #onVisible = (): void => {
    if (!document.hidden) void this.refresh();
  };
}

function named(checks: readonly (readonly [string, unknown])[]): string {
  return checks.length > 0 ? ` (${checks.map(([name]) => name).join(", ")})` : "";
}

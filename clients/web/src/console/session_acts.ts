// What can be done to a session from the list, one thing at a time for each, and what is told of the outcome.
import type { ReactiveControllerHost } from "lit";
import type { Api } from "./api.ts";
import { copyText } from "./clipboard.ts";
import { formatWhen } from "./format.ts";
import { explain } from "./problem.ts";
import { isLiving, type Session, titleOf } from "./session.ts";

/** Who shows the sessions. */
export interface Shows extends ReactiveControllerHost {
  readonly api: Api | null;
  /** Show a session as it is now. */
  replace(session: Session): void;
  /** Look again. */
  refresh(): void;
}

/** `said` is the outcome of the last act; `isAlarm`: it failed. */
export class SessionActs {
  said = "";
  isAlarm = false;
  readonly #host: Shows;
  readonly #busy = new Set<string>();

  constructor(host: Shows) {
    this.#host = host;
  }

  /** Whether something is being done to a session. */
  isBusy(session: Session): boolean {
    return this.#busy.has(session.session_id);
  }

  rename(session: Session, name: string): Promise<void> {
    return this.#work(session, async (api) => {
      this.#host.replace(await api.change(session.session_id, { name }));
      this.say(name ? `Renamed to ${name}` : "The name was removed");
    });
  }

  keepAlive(session: Session): Promise<void> {
    return this.#work(session, async (api) => {
      const { expires_at, last_activity: at } = await api.keepAlive(session.session_id);
      this.#host.replace({ ...session, expires_at, last_activity: at, last_bump: { source: "keepalive", at } });
      const until = expires_at === null ? "" : `: it lives until ${formatWhen(expires_at, api.now())}`;
      this.say(`${titleOf(session)} was kept alive${until}`);
    });
  }

  end(session: Session): Promise<void> {
    return this.#work(session, async (api) => {
      await api.end(session.session_id);
      this.say(`${titleOf(session)} was ended`);
      this.#host.refresh();
    });
  }

  async copyId(session: Session): Promise<void> {
    const isCopied = await copyText(session.session_id);
    if (isCopied) this.say("The id is in the clipboard");
    else this.say(`The browser does not let us copy; the id is ${session.session_id}`, true);
  }

  say(text: string, isAlarm = false): void {
    this.said = text;
    this.isAlarm = isAlarm;
    this.#host.requestUpdate();
  }

  async #work(session: Session, work: (api: Api) => Promise<void>): Promise<void> {
    const { api } = this.#host;
    if (!api || this.isBusy(session) || !isLiving(session)) return;
    this.#busy.add(session.session_id);
    this.#host.requestUpdate();
    try {
      await work(api);
    } catch (error) {
      this.say(`${titleOf(session)}: ${explain(error)}`, true);
      this.#host.refresh();
    } finally {
      this.#busy.delete(session.session_id);
      this.#host.requestUpdate();
    }
  }
}

// The table of everything that can be done, and the ways to it: by name, by chord, by the palette, on the help sheet.
import type { About } from "./act.ts";
import { spoken } from "./chords.ts";
import { type Command, GROUPS, type Host } from "./command.ts";
import { OPEN_COMMANDS } from "./commands_open.ts";
import { PAGE_COMMANDS } from "./commands_page.ts";
import { SESSION_COMMANDS } from "./commands_session.ts";
import type { Shortcut } from "./help.ts";
import type { Choice } from "./palette.ts";
import { isLiving, type Session, titleOf } from "./session.ts";
import { paneShowing } from "./workspace.ts";

export const COMMANDS: readonly Command[] = [...OPEN_COMMANDS, ...SESSION_COMMANDS, ...PAGE_COMMANDS];

const BY_ID: ReadonlyMap<string, Command> = new Map(COMMANDS.map((command) => [command.id, command]));

/** Return the command of a name; throws for one that nobody wrote. */
export function commandNamed(id: string): Command {
  const command = BY_ID.get(id);
  if (!command) throw new Error(`no command is called ${id}`);
  return command;
}

/** Return what a chord does; `isOutside` where keys mean nothing else, so not in a terminal and not in a field. */
export function commandFor(chord: string, isOutside: boolean): Command | undefined {
  return COMMANDS.find(({ chords, outside }) => chords?.includes(chord) || (isOutside && outside?.includes(chord)));
}

export function canRun(command: Command, host: Host, about: About): boolean {
  return command.when?.(host, about) ?? true;
}

export function titleFor(command: Command, host: Host): string {
  return typeof command.title === "string" ? command.title : command.title(host);
}

/** What is said of a chord on a button or in a menu; "" if there is none. */
export function hintFor(id: string): string {
  const [chord] = BY_ID.get(id)?.chords ?? [];
  return chord ? spoken(chord) : "";
}

/** What the palette offers: what can be done now, and every session. */
export function choicesFor(host: Host): Choice[] {
  const commands = COMMANDS.filter((command) => !command.unlisted && canRun(command, host, {}));
  const choices = GROUPS.flatMap((group) => commands.filter((command) => command.group === group)).map((command) => ({
    title: titleFor(command, host),
    group: command.group,
    sign: command.sign,
    chord: command.chords?.[0],
    command: command.id,
  }));
  return [...choices, ...sessionsOf(host)];
}

function sessionsOf(host: Host): Choice[] {
  const newestFirst = [...host.roster.sessions].sort((a, b) => b.created_at - a.created_at);
  const living = [...newestFirst.filter(isLiving), ...newestFirst.filter((session) => !isLiving(session))];
  return living.map((session) => ({
    title: titleOf(session),
    detail: detailOf(host, session),
    group: "Sessions",
    sign: "terminal",
    command: "open",
    about: { session: session.session_id },
  }));
}

function detailOf(host: Host, session: Session): string {
  const isOpen = paneShowing(host.desk.space, session.session_id) !== undefined;
  const state = isLiving(session) ? "" : session.state;
  return [session.session_id.slice(0, 8), state, isOpen ? "open" : "", session.last_line ?? ""]
    .filter(Boolean)
    .join(" · ");
}

/** Keys that the terminal itself keeps from the program. */
const IN_TERMINAL: readonly Shortcut[] = [
  { title: "Copy", group: "This terminal", chords: ["Ctrl+Shift+C"] },
  { title: "Paste", group: "This terminal", chords: ["Ctrl+Shift+V"] },
  { title: "Find", group: "This terminal", chords: ["Ctrl+Shift+F"] },
  { title: "Scroll", group: "This terminal", chords: ["Shift+PageUp", "Shift+PageDown"] },
  { title: "Leave by keyboard", group: "This terminal", chords: ["Ctrl+F6"] },
];

/** What the help sheet lists. */
export function shortcutsFor(host: Host): Shortcut[] {
  const listed = COMMANDS.filter(({ chords, shown }) => chords && shown !== "");
  const own = GROUPS.flatMap((group) => listed.filter((command) => command.group === group)).map((command) => ({
    title: titleFor(command, host),
    group: command.group,
    chords: command.shown ? [command.shown] : [...(command.chords ?? []), ...(command.outside ?? [])],
  }));
  return [...own, ...IN_TERMINAL];
}

// What a command is, and what it may use of the console.
import type { TerminalSession } from "../element/index.ts";
import type { About } from "./act.ts";
import type { Api } from "./api.ts";
import type { Question } from "./ask.ts";
import type { Desk } from "./desk.ts";
import type { Pane } from "./layout.ts";
import type { Notice } from "./notices.ts";
import type { PaneStates } from "./pane_states.ts";
import type { Preferences } from "./preferences.ts";
import type { Roster } from "./roster.ts";
import type { Session } from "./session.ts";
import type { Sign } from "./signs.ts";
import type { Theme } from "./theme.ts";
import { focusedPane } from "./workspace.ts";

/** The console, as commands see it. */
export interface Host {
  readonly desk: Desk;
  readonly api: Api;
  readonly roster: Roster;
  readonly states: PaneStates;
  readonly theme: Theme;
  readonly preferences: Preferences;
  /** Whether a session is being started: one press starts one. */
  isStarting: boolean;
  isSidebarShown: boolean;
  nameOf(pane: Pane): string;
  /** The terminal of a pane; null while it is not on the page. */
  terminal(key: string): TerminalSession | null;
  /** Carry out another command. */
  carryOut(command: string, about?: About): void;
  ask(question: Question): Promise<string | null>;
  /** Resolves to whether the session is to be ended. */
  askToEnd(session: Session): Promise<boolean>;
  show(notice: Notice): void;
  say(text: string): void;
  /** Give the keyboard to the terminal in front, or to what is there instead, once the page is up to date. */
  focusTerminal(): void;
  focusList(): unknown;
  /** Let a pane fill its tab, or show the others again. */
  zoom(key: string): void;
  openPalette(): void;
  openHelp(): void;
  openCreate(): void;
  openPaneMenu(pane: Pane): void;
  openSwitch(pane: Pane): void;
  openFind(pane: Pane): void;
  /** Something that was remembered of looks is another. */
  restyle(): void;
}

export interface Command {
  readonly id: string;
  readonly title: string | ((host: Host) => string);
  readonly group: Group;
  readonly sign: Sign;
  /** Hold everywhere, the terminal included. */
  readonly chords?: readonly string[];
  /** Hold where keys mean nothing else. */
  readonly outside?: readonly string[];
  /** How the chords are shown, if not as they are; "" if not at all. */
  readonly shown?: string;
  /** Only for buttons and chords, not for the palette. */
  readonly unlisted?: boolean;
  when?(host: Host, about: About): boolean;
  /** Errors of requests are shown by who carries it out. */
  run(host: Host, about: About): unknown;
}

export const GROUPS = ["Terminals", "This terminal", "Go to", "Page"] as const;
export type Group = (typeof GROUPS)[number];

/** Return the pane that is meant: the one that was named, else the one in front. */
export function paneFor(host: Host, about: About): Pane | undefined {
  const { space } = host.desk;
  if (about.pane === undefined) return space.view === "terminals" ? focusedPane(space) : undefined;
  return host.desk.pane(about.pane);
}

export function hasPane(host: Host, about: About): boolean {
  return paneFor(host, about) !== undefined;
}

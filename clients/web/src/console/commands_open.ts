// Commands that open, split, reach and close: what is in front, and where.
import type { About } from "./act.ts";
import { type Command, type Host, hasPane, paneFor } from "./command.ts";
import { type Direction, neighbour, type Pane, panesOf, type Side } from "./layout.ts";
import { isLiving } from "./session.ts";
import {
  activate,
  activeTab,
  addTab,
  allPanes,
  closePane,
  closeTab,
  focusPane,
  paneShowing,
  panesInFront,
  replacePane,
  splitPane,
  type Workspace,
} from "./workspace.ts";

export type How = "here" | "split-right" | "split-down" | "tab";

/**
 * Show a session as a link would: `here` in the place of what is in front, which can be gone back to. One that is open
 * already is gone to, unless a split is wanted: that shows it twice.
 */
export function openSession(host: Host, sessionId: string, how: How): void {
  const { space } = host.desk;
  const isSplit = how === "split-right" || how === "split-down";
  const there = paneShowing(space, sessionId);
  const front = activeTab(space)?.focus;
  if (there && !isSplit) host.desk.change(focusPane(space, there.key));
  else if (front === undefined || how === "tab") added(host, (pane) => addTab(space, pane), sessionId);
  else if (how === "here") added(host, (pane) => replacePane(space, front, pane), sessionId);
  else added(host, (pane) => splitPane(space, front, directionOf(how), pane), sessionId);
  host.focusTerminal();
}

/** Start a session as the service does it by default, and show it. */
async function start(host: Host, place: (pane: Pane) => Workspace): Promise<void> {
  if (host.isStarting) return;
  host.isStarting = true;
  try {
    const session = await host.api.create({ name: freeName(host) });
    host.roster.put(session);
    added(host, place, session.session_id);
    host.focusTerminal();
  } finally {
    host.isStarting = false;
  }
}

/** Names tell shells apart that are all called alike: "Terminal 1", and so on. */
function freeName(host: Host): string {
  const taken = new Set(host.roster.sessions.filter(isLiving).map(({ name }) => name));
  let number = 1;
  while (taken.has(`Terminal ${number}`)) number += 1;
  return `Terminal ${number}`;
}

function added(host: Host, place: (pane: Pane) => Workspace, sessionId: string): void {
  const pane = host.desk.newPane(sessionId);
  const next = place(pane);
  if (next === host.desk.space)
    host.show({ text: "There is no room for more here: close something first.", bad: true });
  else host.desk.change(next);
}

function splitting(how: "split-right" | "split-down", title: string, chord: string): Command {
  return {
    ...{ id: how, title, group: "Terminals", sign: how === "split-right" ? "right" : "down", chords: [chord] },
    when: hasPane,
    run: (host, about) => {
      const front = paneFor(host, about);
      return front && start(host, (pane) => splitPane(host.desk.space, front.key, directionOf(how), pane));
    },
  };
}

function reaching(side: Side, title: string, chord: string): Command {
  return {
    ...{ id: `pane-${side}`, title, group: "Go to", sign: "terminal", chords: [chord], unlisted: true },
    when: (host) => hasPane(host, {}),
    run: (host) => {
      const { space } = host.desk;
      const tab = activeTab(space);
      const next = tab && neighbour(tab.root, tab.focus, side);
      if (next) host.desk.change(focusPane(space, next));
      host.focusTerminal();
    },
  };
}

function stepping(id: string, title: string, step: 1 | -1, chord: string): Command {
  return {
    ...{ id, title, group: "Go to", sign: "terminal", chords: [chord] },
    when: (host) => allPanes(host.desk.space).length > 1,
    run: (host) => {
      const { space } = host.desk;
      const panes = allPanes(space);
      const at = panes.findIndex(({ key }) => key === activeTab(space)?.focus);
      const next = panes.at((at + step) % panes.length);
      if (next) host.desk.change(focusPane(space, next.key));
      host.focusTerminal();
    },
  };
}

function turning(id: string, title: string, step: 1 | -1, chord: string): Command {
  return {
    ...{ id, title, group: "Go to", sign: "terminal", chords: [chord] },
    when: (host) => host.desk.space.tabs.length > 1,
    run: (host) => {
      const { tabs, active } = host.desk.space;
      host.desk.change(activate(host.desk.space, (active + step + tabs.length) % tabs.length));
      host.focusTerminal();
    },
  };
}

function moving(id: string, title: string, step: 1 | -1): Command {
  return {
    ...{ id, title, group: "Terminals", sign: "terminal" },
    when: (host) => host.desk.space.tabs.length > 1,
    run: (host) => {
      const { space } = host.desk;
      const tab = activeTab(space);
      const to = space.active + step;
      if (!tab || to < 0 || to >= space.tabs.length) return;
      const tabs = space.tabs.toSpliced(space.active, 1).toSpliced(to, 0, tab);
      host.desk.change({ ...space, tabs, active: to });
      host.focusTerminal();
    },
  };
}

/** Tell what becomes of what was closed, and let it be ended where that was meant. */
function closed(host: Host, panes: readonly Pane[]): void {
  host.focusTerminal();
  const going = panes.filter(({ session }) => host.roster.isLiving(session) && !paneShowing(host.desk.space, session));
  const [one] = going;
  if (!one) return;
  if (going.length > 1) {
    host.show({ text: `${going.length} sessions go on without their panes.` });
    return;
  }
  const run = () => host.carryOut("end", { session: one.session });
  host.show({ text: `Closed. “${host.nameOf(one)}” goes on.`, offer: { label: "End it instead", run } });
}

function close(host: Host, about: About): void {
  const pane = paneFor(host, about);
  if (!pane) return;
  host.desk.change(closePane(host.desk.space, pane.key));
  closed(host, [pane]);
}

function closeWholeTab(host: Host, about: About): void {
  const { space } = host.desk;
  const index = about.tab ?? space.active;
  const tab = space.tabs[index];
  if (!tab) return;
  host.desk.change(closeTab(space, index));
  closed(host, panesOf(tab.root));
}

function showTab(host: Host, index: number): void {
  if (index >= host.desk.space.tabs.length) return;
  host.desk.change(activate(host.desk.space, index));
  host.focusTerminal();
}

const TAB_NUMBERS: readonly Command[] = Array.from({ length: 9 }, (_, index) => ({
  ...{ id: `tab-${index + 1}`, title: "Tab 1 to 9", group: "Go to", sign: "terminal", unlisted: true },
  ...{ chords: [`Ctrl+Shift+${index + 1}`], shown: index === 0 ? "Ctrl+Shift+1–9" : "" },
  run: (host) => showTab(host, index),
}));

export const OPEN_COMMANDS: readonly Command[] = [
  {
    ...{ id: "new", title: "New session", group: "Terminals", sign: "plus", chords: ["Ctrl+Shift+Enter"] },
    run: (host) => start(host, (pane) => addTab(host.desk.space, pane)),
  },
  {
    ...{ id: "new-options", title: "New session with options…", group: "Terminals", sign: "plus" },
    run: (host) => host.openCreate(),
  },
  splitting("split-right", "Split right", "Ctrl+Alt+Enter"),
  splitting("split-down", "Split down", "Ctrl+Alt+Shift+Enter"),
  {
    ...{ id: "zoom", title: "Zoom this pane, on or off", group: "Terminals", sign: "zoom", chords: ["Ctrl+Alt+Home"] },
    when: (host, about) => hasPane(host, about) && panesInFront(host.desk.space).length > 1,
    run: (host, about) => {
      const pane = paneFor(host, about);
      if (!pane) return;
      host.desk.change(focusPane(host.desk.space, pane.key));
      host.zoom(pane.key);
      host.focusTerminal();
    },
  },
  {
    ...{ id: "close-pane", title: "Close this pane", group: "Terminals", sign: "close" },
    ...{ chords: ["Ctrl+Shift+Backspace"], when: hasPane, run: close },
  },
  {
    ...{ id: "close-tab", title: "Close this tab", group: "Terminals", sign: "close", run: closeWholeTab },
    when: (host, { tab }) => tab !== undefined || hasPane(host, {}),
  },
  {
    ...{ id: "new-here", title: "New session in this place", group: "Terminals", sign: "plus", unlisted: true },
    when: hasPane,
    run: (host, about) => {
      const old = paneFor(host, about);
      return old && start(host, (pane) => replacePane(host.desk.space, old.key, pane));
    },
  },
  reaching("left", "Pane to the left", "Ctrl+Shift+ArrowLeft"),
  reaching("right", "Pane to the right", "Ctrl+Shift+ArrowRight"),
  reaching("up", "Pane above", "Ctrl+Shift+ArrowUp"),
  reaching("down", "Pane below", "Ctrl+Shift+ArrowDown"),
  stepping("next-pane", "Next pane", 1, "Ctrl+Alt+Period"),
  stepping("previous-pane", "Previous pane", -1, "Ctrl+Alt+Comma"),
  turning("next-tab", "Next tab", 1, "Ctrl+Shift+Period"),
  turning("previous-tab", "Previous tab", -1, "Ctrl+Shift+Comma"),
  ...TAB_NUMBERS,
  {
    ...{ id: "show-tab", title: "Show a tab", group: "Go to", sign: "terminal", unlisted: true },
    run: (host, { tab }) => showTab(host, tab ?? 0),
  },
  {
    ...{ id: "show-pane", title: "Show a pane", group: "Go to", sign: "terminal", unlisted: true },
    run: (host, { pane }) => {
      if (pane) host.desk.change(focusPane(host.desk.space, pane));
      host.focusTerminal();
    },
  },
  moving("move-left", "Move this tab left", -1),
  moving("move-right", "Move this tab right", 1),
  {
    ...{ id: "open", title: "Open a session", group: "Go to", sign: "terminal", unlisted: true },
    run: (host, { session }) => session && openSession(host, session, "tab"),
  },
];

function directionOf(how: "split-right" | "split-down"): Direction {
  return how === "split-right" ? "right" : "down";
}

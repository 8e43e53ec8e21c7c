// What the page shows: a view, and tabs of panes. Values and what can be done with them; nothing here touches the page.
import { type Direction, type Layout, PANES_LIMIT, type Pane, panesOf, remove, replace, split } from "./layout.ts";

export const VIEWS = ["terminals", "sessions", "metrics", "health"] as const;
export type View = (typeof VIEWS)[number];

export interface Tab {
  readonly root: Layout;
  /** The key of the pane that has, or gets, the keyboard. */
  readonly focus: string;
}

export interface Workspace {
  readonly view: View;
  readonly tabs: readonly Tab[];
  /** Index into `tabs`; 0 if there are none. */
  readonly active: number;
}

export const EMPTY: Workspace = { view: "terminals", tabs: [], active: 0 };

/** What the address may hold; more would be no help to anybody. */
export const TABS_LIMIT = 50;

export function activeTab(space: Workspace): Tab | undefined {
  return space.tabs[space.active];
}

/** Return the pane that has the keyboard, or would get it. */
export function focusedPane(space: Workspace): Pane | undefined {
  const tab = activeTab(space);
  return tab && panesOf(tab.root).find((pane) => pane.key === tab.focus);
}

/** Return the panes of the active tab. */
export function panesInFront(space: Workspace): Pane[] {
  const tab = activeTab(space);
  return tab ? panesOf(tab.root) : [];
}

export function allPanes(space: Workspace): Pane[] {
  return space.tabs.flatMap((tab) => panesOf(tab.root));
}

export function show(space: Workspace, view: View): Workspace {
  return space.view === view ? space : { ...space, view };
}

export function activate(space: Workspace, index: number): Workspace {
  const active = Math.max(0, Math.min(index, space.tabs.length - 1));
  return { ...space, view: "terminals", active };
}

/** Return the space with the pane `key` in front and its tab active. */
export function focusPane(space: Workspace, key: string): Workspace {
  const index = tabIndexOf(space, key);
  const tab = space.tabs[index];
  if (!tab) return space;
  if (tab.focus === key && space.active === index && space.view === "terminals") return space;
  return activate({ ...space, tabs: space.tabs.with(index, { ...tab, focus: key }) }, index);
}

/** Open a pane in a tab of its own, behind the active one; a full space stays as it is. */
export function addTab(space: Workspace, pane: Pane): Workspace {
  if (space.tabs.length >= TABS_LIMIT) return space;
  const index = space.tabs.length === 0 ? 0 : space.active + 1;
  return activate({ ...space, tabs: space.tabs.toSpliced(index, 0, { root: pane, focus: pane.key }) }, index);
}

/** Halve the pane `key` and give the keyboard to what is new; a full tab stays as it is. */
export function splitPane(space: Workspace, key: string, direction: Direction, added: Pane): Workspace {
  const index = tabIndexOf(space, key);
  const tab = space.tabs[index];
  if (!tab) return addTab(space, added);
  if (panesOf(tab.root).length >= PANES_LIMIT) return space;
  const root = split(tab.root, key, direction, added);
  return activate({ ...space, tabs: space.tabs.with(index, { root, focus: added.key }) }, index);
}

/** Show something else in the place of the pane `key`. */
export function replacePane(space: Workspace, key: string, next: Pane): Workspace {
  const index = tabIndexOf(space, key);
  const changed = changeTab(space, index, ({ root }) => ({ root: replace(root, key, () => next), focus: next.key }));
  return index < 0 ? space : activate(changed, index);
}

/** Close a pane; with its last one the tab goes. The session goes on. */
export function closePane(space: Workspace, key: string): Workspace {
  const index = tabIndexOf(space, key);
  const tab = space.tabs[index];
  if (!tab) return space;
  const panes = panesOf(tab.root);
  const root = remove(tab.root, key);
  if (root === null) return closeTab(space, index);
  const place = panes.findIndex((pane) => pane.key === key);
  const next = tab.focus === key ? (panes[place - 1] ?? panes[place + 1]) : undefined;
  return { ...space, tabs: space.tabs.with(index, { root, focus: next?.key ?? tab.focus }) };
}

export function closeTab(space: Workspace, index: number): Workspace {
  if (!space.tabs[index]) return space;
  const tabs = space.tabs.toSpliced(index, 1);
  const active = index < space.active ? space.active - 1 : Math.min(space.active, tabs.length - 1);
  return { ...space, tabs, active: Math.max(0, active) };
}

export function changePane(space: Workspace, key: string, change: (pane: Pane) => Pane): Workspace {
  return changeTab(space, tabIndexOf(space, key), (tab) => ({ ...tab, root: replace(tab.root, key, change) }));
}

export function changeTab(space: Workspace, index: number, change: (tab: Tab) => Tab): Workspace {
  const tab = space.tabs[index];
  return tab ? { ...space, tabs: space.tabs.with(index, change(tab)) } : space;
}

export function tabIndexOf(space: Workspace, key: string): number {
  return space.tabs.findIndex((tab) => panesOf(tab.root).some((pane) => pane.key === key));
}

/** Return the pane that shows a session already, one of the active tab before others. */
export function paneShowing(space: Workspace, session: string): Pane | undefined {
  const tab = activeTab(space);
  return [...(tab ? panesOf(tab.root) : []), ...allPanes(space)].find((pane) => pane.session === session);
}

/**
 * Give the panes of `next`, which came from an address, the keys of those in `now` that show the same, so that
 * terminals stay as they are when somebody goes back or forward. `newKey` names the others.
 */
export function adoptKeys(now: Workspace, next: Workspace, newKey: () => string): Workspace {
  const free = allPanes(now);
  const keys = new Map<string, string>();
  const likenesses: ((a: Pane, b: Pane) => boolean)[] = [
    (a, b) => a.session === b.session && a.readOnly === b.readOnly && a.live === b.live,
    (a, b) => a.session === b.session,
  ];
  for (const alike of likenesses) {
    for (const pane of allPanes(next)) {
      if (keys.has(pane.key)) continue;
      const index = free.findIndex((other) => alike(pane, other));
      const [found] = index < 0 ? [] : free.splice(index, 1);
      if (found) keys.set(pane.key, found.key);
    }
  }
  for (const pane of allPanes(next)) if (!keys.has(pane.key)) keys.set(pane.key, newKey());
  const tabs = next.tabs.map((tab) => ({
    root: renamed(tab.root, keys),
    focus: keys.get(tab.focus) ?? tab.focus,
  }));
  return { ...next, tabs };
}

function renamed(layout: Layout, keys: ReadonlyMap<string, string>): Layout {
  if (layout.kind === "pane") return { ...layout, key: keys.get(layout.key) ?? layout.key };
  return { ...layout, first: renamed(layout.first, keys), second: renamed(layout.second, keys) };
}

// What the menu of a pane offers, and the switch between panes on phones.

import type { Host } from "./command.ts";
import { hintFor } from "./commands.ts";
import type { Pane } from "./layout.ts";
import type { MenuItem } from "./menu.ts";
import { wordsFor } from "./pane_states.ts";
import { allPanes, panesInFront } from "./workspace.ts";

/** `isNarrow`: without what only makes sense where panes are side by side. */
export function paneMenu(host: Host, pane: Pane, isNarrow: boolean): MenuItem[] {
  const about = { pane: pane.key };
  const isLiving = host.roster.isLiving(pane.session) || host.states.of(pane.key).state === "open";
  const item = (command: string, label: string, rest: Partial<MenuItem> = {}): MenuItem => ({
    ...{ command, label, about, chord: isNarrow ? "" : hintFor(command) },
    ...rest,
  });
  const splits = [
    item("split-right", "Split right", { sign: "right" }),
    item("split-down", "Split down", { sign: "down" }),
    ...(panesInFront(host.desk.space).length > 1 ? [item("zoom", "Zoom", { sign: "zoom" })] : []),
  ];
  const living = [
    item("rename", "Rename…", { sign: "pencil", apart: true }),
    item("keepalive", "Keep alive", { sign: "clock" }),
  ];
  return [
    ...(isNarrow ? [] : splits),
    item("find", "Find…", { sign: "search", chord: isNarrow ? "" : "Ctrl+Shift+F" }),
    item("paste", "Paste", { sign: "paste", chord: isNarrow ? "" : "Ctrl+Shift+V" }),
    ...(isLiving ? living : []),
    item("copy-link", "Copy link", { sign: "link", apart: !isLiving }),
    item("read-only", "Read only", { checked: pane.readOnly, apart: true }),
    item("live", "Skip ahead when behind", { checked: pane.live }),
    item("freeze", "Freeze output", { checked: host.states.of(pane.key).frozen }),
    item("reconnect", "Connect again", { sign: "reconnect" }),
    ...(isLiving ? [item("end", "End session…", { sign: "stop", danger: true, apart: true })] : []),
  ];
}

/** Every pane that is open, to go to. */
export function switchMenu(host: Host, current: Pane): MenuItem[] {
  return allPanes(host.desk.space).map((pane) => ({
    command: "show-pane",
    label: `${host.nameOf(pane)} (${wordsFor(host.states.of(pane.key).state)})`,
    about: { pane: pane.key },
    checked: pane.key === current.key,
    radio: true,
  }));
}

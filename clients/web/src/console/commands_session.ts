// Commands for the terminal in front and the session in it.
import type { About } from "./act.ts";
import { type Command, type Host, hasPane, paneFor } from "./command.ts";
import type { Pane } from "./layout.ts";
import { encode } from "./route.ts";
import { addTab, changePane, EMPTY } from "./workspace.ts";

type Doing = (host: Host, pane: Pane) => unknown;

function forPane(doing: Doing): Pick<Command, "when" | "run"> {
  return {
    when: hasPane,
    run: (host, about) => {
      const pane = paneFor(host, about);
      return pane && doing(host, pane);
    },
  };
}

async function rename(host: Host, pane: Pane): Promise<void> {
  const session = await host.api.get(pane.session);
  const field = { label: "Name", value: session.name, limit: 200 };
  const name = await host.ask({ title: "Rename this session", field, confirm: "Rename" });
  if (name === null || name === session.name) return;
  host.roster.put(await host.api.change(pane.session, { name: name.trim() }));
}

async function keepAlive(host: Host, pane: Pane): Promise<void> {
  const { ttl_seconds } = await host.api.keepAlive(pane.session);
  void host.roster.refresh();
  host.show({ text: `It will stay ${duration(ttl_seconds)} longer, even if nobody does anything.` });
}

async function end(host: Host, about: About): Promise<void> {
  const id = about.session ?? paneFor(host, about)?.session;
  if (!id) return;
  const session = await host.api.get(id);
  if (!(await host.askToEnd(session))) return;
  await host.api.end(id);
  void host.roster.refresh();
}

/** Something this page may show to who is signed in, and nothing else: a session id is an address, no key. */
async function copyLink(host: Host, pane: Pane): Promise<void> {
  const url = new URL(encode(addTab(EMPTY, { ...pane, key: "0" })), location.href).href;
  try {
    await navigator.clipboard.writeText(url);
    host.show({ text: "Link copied." });
  } catch {
    // No clipboard without a secure connection, or not allowed: then it can be copied by hand.
    await host.ask({
      title: "Link to this session",
      field: { label: "Address", value: url, limit: 2000 },
      confirm: "Done",
    });
  }
}

async function paste(host: Host, pane: Pane): Promise<void> {
  const terminal = host.terminal(pane.key);
  const text = (await clipboardText()) ?? (await askForText(host));
  if (text) await terminal?.paste(text);
  host.focusTerminal();
}

/** Null where the browser does not let us read. */
async function clipboardText(): Promise<string | null> {
  try {
    return await navigator.clipboard.readText();
  } catch {
    return null;
  }
}

function askForText(host: Host): Promise<string | null> {
  const text = "This browser keeps the clipboard to itself: paste into the field.";
  return host.ask({ title: "Paste", text, field: { label: "Text", lines: true }, confirm: "Paste" });
}

function turned(change: (pane: Pane) => Pane): Doing {
  return (host, { key }) => {
    host.desk.change(changePane(host.desk.space, key, change));
    host.focusTerminal();
  };
}

const GROUP = { group: "This terminal" } as const;

export const SESSION_COMMANDS: readonly Command[] = [
  {
    ...GROUP,
    id: "find",
    title: "Find in the output…",
    sign: "search",
    ...forPane((host, pane) => host.openFind(pane)),
  },
  { ...GROUP, id: "paste", title: "Paste", sign: "paste", ...forPane(paste) },
  { ...GROUP, id: "rename", title: "Rename…", sign: "pencil", ...forPane(rename) },
  { ...GROUP, id: "keepalive", title: "Keep alive", sign: "clock", ...forPane(keepAlive) },
  {
    ...{ ...GROUP, id: "read-only", title: "Read only, on or off", sign: "eye" },
    ...forPane(turned((pane) => ({ ...pane, readOnly: !pane.readOnly }))),
  },
  {
    ...{ ...GROUP, id: "live", title: "Skip ahead when behind, on or off", sign: "forward" },
    ...forPane(turned((pane) => ({ ...pane, live: !pane.live }))),
  },
  {
    ...{ ...GROUP, id: "freeze", title: "Freeze the output, on or off", sign: "stop" },
    ...forPane((host, { key }) => {
      host.states.change(key, { frozen: !host.states.of(key).frozen });
      host.restyle();
      host.focusTerminal();
    }),
  },
  {
    ...{ ...GROUP, id: "reconnect", title: "Connect again", sign: "link" },
    ...forPane((host, { key }) => host.terminal(key)?.reconnect()),
  },
  { ...GROUP, id: "copy-link", title: "Copy a link to it", sign: "link", ...forPane(copyLink) },
  {
    ...{ ...GROUP, id: "end", title: "End this session…", sign: "stop", run: end },
    when: (host, about) => about.session !== undefined || hasPane(host, about),
  },
  {
    ...{ ...GROUP, id: "pane-menu", title: "Menu of this pane", sign: "more", unlisted: true },
    ...forPane((host, pane) => host.openPaneMenu(pane)),
  },
  {
    ...{ ...GROUP, id: "switch", title: "Switch terminal", sign: "terminal", unlisted: true },
    ...forPane((host, pane) => host.openSwitch(pane)),
  },
];

function duration(seconds: number): string {
  const [amount, unit] =
    seconds >= 5400 ? [seconds / 3600, "hours"] : seconds >= 90 ? [seconds / 60, "minutes"] : [seconds, "seconds"];
  return `${Math.round(amount)} ${unit}`;
}

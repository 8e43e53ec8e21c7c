// Commands for the page: views, looks, help.
import { VIEW_NAMES, VIEW_SIGNS } from "./bar.ts";
import type { Command, Host } from "./command.ts";
import { FONT_SIZES } from "./preferences.ts";
import { choiceAfter } from "./theme.ts";
import { show, VIEWS } from "./workspace.ts";

const THEMES = { auto: "as the system has it", light: "light", dark: "dark" } as const;

function switchTheme(host: Host): void {
  host.theme.choice = choiceAfter(host.theme.choice);
  host.say(`Theme: ${THEMES[host.theme.choice]}`);
  host.restyle();
}

function fontSize(host: Host, size: number): void {
  host.preferences.fontSize = size;
  host.say(`Font size ${host.preferences.fontSize}`);
  host.restyle();
}

const VIEW_COMMANDS: readonly Command[] = VIEWS.map((view) => ({
  ...{ id: `view-${view}`, title: VIEW_NAMES[view], group: "Go to", sign: VIEW_SIGNS[view] },
  run: (host) => {
    host.desk.change(show(host.desk.space, view));
    if (view === "terminals") host.focusTerminal();
  },
}));

export const PAGE_COMMANDS: readonly Command[] = [
  ...VIEW_COMMANDS,
  {
    ...{ id: "list", title: "List of sessions", group: "Go to", sign: "sidebar", chords: ["Ctrl+Shift+L"] },
    run: (host) => host.focusList(),
  },
  {
    ...{ id: "terminal", title: "The terminal", group: "Go to", sign: "terminal", unlisted: true },
    run: (host) => host.focusTerminal(),
  },
  {
    ...{ id: "palette", title: "Command palette", group: "Page", sign: "search", unlisted: true },
    ...{ chords: ["Ctrl+Shift+P", "Ctrl+F1"], outside: ["F1"] },
    run: (host) => host.openPalette(),
  },
  {
    ...{ id: "sidebar", title: "Show or hide the list of sessions", group: "Page", sign: "sidebar" },
    run: (host) => {
      host.isSidebarShown = !host.isSidebarShown;
    },
  },
  {
    ...{
      id: "theme",
      title: ({ theme }) => `Theme: ${THEMES[choiceAfter(theme.choice)]}`,
      group: "Page",
      sign: "dark",
    },
    run: switchTheme,
  },
  {
    ...{ id: "larger", title: "Larger letters", group: "Page", sign: "larger", chords: ["Ctrl+Alt+Equal"] },
    run: (host) => fontSize(host, host.preferences.fontSize + 1),
  },
  {
    ...{ id: "smaller", title: "Smaller letters", group: "Page", sign: "larger", chords: ["Ctrl+Alt+Minus"] },
    run: (host) => fontSize(host, host.preferences.fontSize - 1),
  },
  {
    ...{ id: "usual-size", title: "Usual size of letters", group: "Page", sign: "larger", chords: ["Ctrl+Alt+0"] },
    run: (host) => fontSize(host, FONT_SIZES.usual),
  },
  {
    ...{ id: "help", title: "Keyboard shortcuts", group: "Page", sign: "keyboard" },
    ...{ chords: ["Ctrl+Shift+F1"], outside: ["Shift+?"] },
    run: (host) => host.openHelp(),
  },
  {
    ...{ id: "sign-out", title: "Sign out", group: "Page", sign: "signout" },
    when: ({ api }) => api.isSignedIn,
    run: ({ api }) => {
      api.signOut();
      location.reload(); // nothing of what was shown, or is connected, stays
    },
  },
];

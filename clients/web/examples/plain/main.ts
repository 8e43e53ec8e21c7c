// In a page without a bundler the first line is a script tag: <script type="module" src="…/embed/terminal-session.js">.
import "../../src/element/index.ts";
import { openSession, service } from "../session.ts";

const terminal = document.querySelector("terminal-session");
const said = document.querySelector("#said");
terminal?.addEventListener("terminal-state", (event) => {
  if (said) said.textContent = `The terminal is ${(event as CustomEvent<{ state: string }>).detail.state}.`;
});
terminal?.setAttribute("src", service);
terminal?.setAttribute("session", await openSession());

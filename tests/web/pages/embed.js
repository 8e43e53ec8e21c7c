// Another site's page with terminals: `?service=<address>` and for each terminal `&terminal=<its attributes as JSON>`.
const EVENTS = [
  "state", "title", "viewers", "resize", "ended", "gap", "link", "error", "bell", "input",
].map((name) => `terminal-${name}`);

const query = new URLSearchParams(location.search);
const service = query.get("service");
await import(`${service}/embed/terminal-session.js`);

window.add = (attributes) => {
  const element = document.createElement("terminal-session");
  element.told = [];
  for (const name of EVENTS) {
    element.addEventListener(name, (event) => element.told.push([name, event.detail]));
  }
  for (const [name, value] of Object.entries({ src: service, ...attributes })) element.setAttribute(name, value);
  document.querySelector("main").append(element);
  return element;
};
for (const attributes of query.getAll("terminal")) window.add(JSON.parse(attributes));

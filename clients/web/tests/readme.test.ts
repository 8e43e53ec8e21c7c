import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const README = read("README.md");
const elements = fileURLToPath(new URL("../src/element", import.meta.url));
const source = readdirSync(elements)
  .map((name) => read(`src/element/${name}`))
  .join("\n");

describe("the README names everything the element has", () => {
  const listed = /static override properties = \{(.*?)\n {2}\};/s.exec(read("src/element/attributes.ts"))?.[1] ?? "";
  const attributes = [...listed.matchAll(/^ {4}(\w+): \{(?: attribute: ("[\w-]+"|false))?/gm)].map(
    ([, name = "", attribute]) => (attribute?.startsWith('"') ? attribute.slice(1, -1) : name),
  );
  it.each(attributes)("attribute %s", (name) => expect(README).toMatch(new RegExp(`^\\|.*\`${name}\``, "m")));

  const events = [...source.matchAll(/emit\("(terminal-[a-z]+)"/g)].map(([, name = ""]) => name);
  it.each([...new Set(events)])("event %s", (name) => expect(README).toContain(`| \`${name}\` |`));

  const members = [
    ...read("src/element/terminal_session.ts").matchAll(/^ {2}(?:async |override |get )?([a-z]\w*)\(.*\{$/gm),
  ]
    .map(([, name = ""]) => name)
    .filter((name) => !["constructor", "connectedCallback", "disconnectedCallback"].includes(name));
  it.each(members)("member %s", (name) => expect(README).toMatch(new RegExp(`^\\|.*\`${name}[\`(]`, "m")));

  const styles = [...source.matchAll(/--terminal-[a-z-]*[a-z]/g)].map(([name]) => name);
  it.each([...new Set(styles)])("custom property %s", (name) => expect(README).toContain(`\`${name}\``));

  it("finds what it looks for", () => {
    expect(attributes.length).toBeGreaterThan(10);
    expect(events.length).toBeGreaterThan(8);
    expect(members.length).toBeGreaterThan(10);
    expect(styles.length).toBeGreaterThan(5);
  });
});

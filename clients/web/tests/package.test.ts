import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const npm = (...words: string[]) => execFileSync("npm", ["--silent", ...words], { cwd: PACKAGE, encoding: "utf8" });

it("packs a client that runs without a page, the element, and types for both", { timeout: 120_000 }, async () => {
  npm("run", "build:package");
  const [packed] = JSON.parse(npm("pack", "--dry-run", "--json")) as [{ files: { path: string }[] }];
  const files = packed.files.map(({ path }) => path);
  expect(files).toEqual(expect.arrayContaining(["README.md", "package.json"]));
  for (const name of ["index", "client", "element"]) expect(files).toContain(`dist/${name}.js`);
  for (const types of ["dist/index.d.ts", "dist/client/index.d.ts", "dist/element/index.d.ts"]) {
    expect(files).toContain(types);
  }
  expect(files.filter((path) => !/^(dist\/|README\.md$|package\.json$)/.test(path))).toEqual([]);
  // A name that is only known when it runs, so that nobody bundles it here.
  const built: unknown = await import(/* @vite-ignore */ `${PACKAGE}/dist/client.js`);
  expect(built).toHaveProperty("createClient", expect.any(Function));
});

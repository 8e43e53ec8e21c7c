// What the builds have in common.
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Plugin } from "vite";

/** Move source maps out of what is served, to `build/maps/<name>`: they are for debugging, not for visitors. */
export function sourcemapsApart(name: string): Plugin {
  let output = "";
  const maps = path.resolve(import.meta.dirname, "build/maps", name);
  return {
    name: "sourcemaps-apart",
    apply: "build",
    configResolved(config) {
      output = path.resolve(config.root, config.build.outDir);
    },
    async closeBundle() {
      await rm(maps, { recursive: true, force: true });
      for (const file of await readdir(output, { recursive: true })) {
        if (!file.endsWith(".map")) continue;
        const target = path.join(maps, file);
        await mkdir(path.dirname(target), { recursive: true });
        await rename(path.join(output, file), target);
      }
    },
  };
}

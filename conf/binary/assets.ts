import { globSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ECHO_FILE } from "../../cli/doctor/container.ts";
import { ADDON_FILE } from "./sqlite-addon.ts";

/**
 * What the single executable carries beside its code: each file by the path under which `ownFile` or `ownText` is asked for it. `page` is the
 * console, built.
 */
export function assets(root: string, page: string): Record<string, string> {
  const files = [...globSync("conf/demo/**/*", { cwd: root, withFileTypes: true })].filter((one) => one.isFile());
  const demo = files.map(({ parentPath, name }) => join(parentPath, name)).toSorted();
  return {
    ...Object.fromEntries(demo.map((path) => [path.slice(root.length + 1), path])),
    [ECHO_FILE]: join(root, ECHO_FILE),
    ...Object.fromEntries(
      readdirSync(page)
        .toSorted()
        .map((name) => [`control/console/dist/${name}`, join(page, name)]),
    ),
    "lua-compat/requests.jsonl": join(root, "lua-compat/requests.jsonl"),
    ...Object.fromEntries(["gateway/waiting/page.css", "gateway/waiting/page.js"].map((path) => [path, join(root, path)])),
    // Of glibc's: what Node itself is linked with.
    [ADDON_FILE]: join(root, `node_modules/better-sqlite3/prebuilds/${process.platform}-${process.arch}.node`),
  };
}

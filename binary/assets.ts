import { globSync } from "node:fs";
import { join } from "node:path";
import { ECHO_FILE } from "../commands/doctor/echo-file.ts";
import { ADDON_FILE } from "./sqlite-addon.ts";

/** What the single executable carries beside its code: each file by the path under which `ownFile` is asked for it. */
export function assets(root: string): Record<string, string> {
  const files = [...globSync("conf/demo/**/*", { cwd: root, withFileTypes: true })].filter((one) => one.isFile());
  const demo = files.map(({ parentPath, name }) => join(parentPath, name)).toSorted();
  return {
    ...Object.fromEntries(demo.map((path) => [path.slice(root.length + 1), path])),
    [ECHO_FILE]: join(root, ECHO_FILE),
    "lua-compat/requests.jsonl": join(root, "lua-compat/requests.jsonl"),
    // Of glibc's: what Node itself is linked with.
    [ADDON_FILE]: join(root, `node_modules/better-sqlite3/prebuilds/${process.platform}-${process.arch}.node`),
  };
}

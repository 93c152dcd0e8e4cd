/**
 * `npm run packages -- FOLDER [PART OF A NAME…]`: publishes each package tarball in a folder with containers to a berth of its own, starts, calls and stops each
 * container, and prints a table. Base images that the engine does not have are replaced. Ends with 1 if a row failed.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openEngine } from "../run/engine.ts";
import { enterOwnNetwork } from "../run/own-network.ts";
import { tryPackages } from "./try-packages.ts";

const [folder, ...parts] = process.argv.slice(2);
if (folder === undefined) {
  console.error(
    "usage: npm run packages -- FOLDER [PART OF A FILE'S NAME…]\nFOLDER holds tarballs: npm pack --pack-destination FOLDER @datagrok/chem",
  );
  process.exit(2);
}
const tarballs = readdirSync(folder)
  .filter((file) => file.endsWith(".tgz") && (parts.length === 0 || parts.some((part) => file.includes(part))))
  .toSorted();

const named = process.env["DOCKER_HOST"] ?? "";
if (named === "") enterOwnNetwork();
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort(new Error(`ended by ${signal}`)));
const engine = await openEngine(named);
process.env["DOCKER_HOST"] = engine.host;
let failed = true;
try {
  const { passed, text } = await tryPackages(
    tarballs.map((file) => join(folder, file)),
    { signal: stop.signal, progress: (line) => console.error(line) },
  );
  console.log(text);
  failed = !passed;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
} finally {
  await engine.close();
}
process.exit(failed ? 1 : 0);

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { constants, Script } from "node:vm";
import { Fault } from "../lib/fault.ts";
import type { CommandContext } from "./command-context.ts";

export const usage = "Usage: berth node <file> [<argument>...]";

/**
 * `berth node`: what services of the driver `process` find as `node` where berth is a single file. Only a file can be run, and its Node takes no
 * options of its own; the rest is as Node has it. Faults: SETTINGS_INVALID.
 */
export async function run({ args: [file, ...rest] }: CommandContext): Promise<void> {
  if (file === undefined || file.startsWith("-"))
    throw new Fault("SETTINGS_INVALID", `The Node within berth runs a file, and takes no options.\n${usage}`);
  const path = resolve(file);
  process.argv = [process.execPath, path, ...rest];
  // What the single file itself imports has to be built in; a script of the default loader may import any file.
  const load = new Script("(url) => import(url)", { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
  await (load.runInThisContext() as (url: string) => Promise<unknown>)(pathToFileURL(path).href);
  // It ends when it has nothing more to do, which Node would report as an unsettled await.
  process.once("beforeExit", (code) => process.exit(code));
  await new Promise(() => {});
}

import { callHere, type Here } from "./command-context.ts";

/** `berth running`: the version of the berth that runs, for `berth upgrade`, which is another user mostly. Faults: CONTROL_AWAY where none runs. */
export async function run(here: Here): Promise<void> {
  const { Version } = await callHere(here)<{ Version: string }>("GET", "/info/server");
  console.log(Version);
}

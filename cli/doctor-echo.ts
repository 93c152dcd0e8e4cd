import { ownFile } from "../lib/own-files.ts";
import { ECHO_FILE } from "./doctor/echo-file.ts";
import type { Here } from "./command-context.ts";
import { run as runFile } from "./node.ts";

/** `berth doctor-echo`: what an image of berth is told by BERTH_ROLE to be while `berth doctor` looks at the chain. */
export async function run(here: Here): Promise<void> {
  await runFile({ ...here, args: [ownFile(ECHO_FILE)] });
}

import { KEY_FILE } from "../control/credentials/key-file.ts";
import { backUp } from "../control/store/backup.ts";
import { Fault } from "../fault.ts";
import { join, resolve } from "node:path";
import { type Here, settingsHere } from "./here.ts";
import { VERSION } from "./version.ts";

export const usage = `Usage: berth backup <file>
  writes the store and the published files, as they are at this moment, to a file that is not there yet; berth may run meanwhile.
  Not in it: the key of the credentials, the first user's key, images of a registry of berth's own.`;

/** `berth backup` */
export async function run(here: Here): Promise<void> {
  const [file, ...more] = here.args;
  if (file === undefined || file.startsWith("-") || more.length > 0) throw new Fault("SETTINGS_INVALID", usage);
  const { settings } = settingsHere(here);
  const made = backUp({ folder: settings.data, file, version: VERSION, clock: here.clock });
  console.log(
    `${made.file}: ${(made.bytes / 1_000_000).toFixed(1)} MB. Without the key of the credentials, which is ${keyPlace(settings)}: keep a copy elsewhere.`,
  );
}

/** Where the key is that opens the credentials of a store. */
export function keyPlace({ data, credentialsKey }: { data: string; credentialsKey: readonly string[] }): string {
  return credentialsKey.length > 0 ? "in BERTH_CREDENTIALS_KEY" : `in ${join(resolve(data), KEY_FILE)}`;
}

import { restore } from "../control/store/restore.ts";
import { Fault } from "../fault.ts";
import { keyPlace } from "./backup.ts";
import { type Here, settingsHere } from "./here.ts";
import { VERSION } from "./version.ts";

export const usage = `Usage: berth restore <file>
  makes the store that \`berth backup\` wrote the one of the data folder, whose berth must not run; what was there is kept as a backup.
  It is as its user that it is to be run.`;

/** `berth restore` */
export async function run(here: Here): Promise<void> {
  const [file, ...more] = here.args;
  if (file === undefined || file.startsWith("-") || more.length > 0) throw new Fault("SETTINGS_INVALID", usage);
  const { settings } = settingsHere(here);
  const { madeOn, kept } = restore({ folder: settings.data, file, version: VERSION, clock: here.clock });
  console.log(
    `${settings.data} is as it was on ${new Date(madeOn).toISOString()}.${kept === undefined ? "" : ` What was there is kept in ${kept}.`}`,
  );
  console.log(`Its credentials need the key that sealed them, which belongs ${keyPlace(settings)}. Who had signed in signs in again.`);
}

import { existsSync } from "node:fs";
import { openGatewayTokens, REPLACED_TOKEN_MS } from "../control/identity/gateway-tokens.ts";
import { Fault } from "../fault.ts";
import { type Here, settingsHere } from "./here.ts";
import { readWords } from "./read-words.ts";

export const usage = `Usage: berth gateways token [--new [--at-once]]
  token      prints the token with which gateways on other machines join this control plane (BERTH_GATEWAYS_PORT); it is made where there is none
  --new      makes another one and prints it. The one before is good for ${REPLACED_TOKEN_MS / 60_000} more minutes: the time to bring the new one to every gateway
  --at-once  the one before is refused from now on, for where somebody else may have it`;

/** `berth gateways` */
export async function run(here: Here): Promise<void> {
  const options = { new: { type: "boolean", default: false }, "at-once": { type: "boolean", default: false } } as const;
  const { values, positionals } = readWords({ args: here.args, options, allowPositionals: true }, usage);
  const atOnce = values["at-once"];
  if (positionals.join(" ") !== "token" || (atOnce && !values.new)) throw new Fault("SETTINGS_INVALID", usage);
  const { data } = settingsHere(here).settings;
  if (!existsSync(data))
    throw new Fault("DATA_FOLDER_UNUSABLE", `There is no data folder ${data}: start berth first, or name its folder by BERTH_DATA.`);
  const tokens = openGatewayTokens({ dataFolder: data, clock: here.clock });
  console.log(values.new ? tokens.renew(atOnce) : tokens.current());
}

import { existsSync } from "node:fs";
import { createGatewayTokens, REPLACED_TOKEN_MS } from "../control/identity/gateway-tokens.ts";
import { Fault } from "../lib/fault.ts";
import { settingsHere } from "./command-context.ts";
import { verb, type Verbs } from "./command.ts";

/** `berth gateways <verb>`: what gateways on other machines join this control plane with. */
export const verbs: Verbs = {
  token: verb({
    words: "",
    says: "print the token with which gateways on other machines join this control plane (BERTH_GATEWAYS_PORT); it is made where there is none",
    options: {
      new: {
        says: `make another one; the one before is good for ${REPLACED_TOKEN_MS / 60_000} more minutes, the time to bring the new one to every gateway`,
      },
      "at-once": { says: "with --new: the one before is refused from now on, for where somebody else may have it" },
    },
    run: async ({ here, given, screen }) => {
      const atOnce = given["at-once"] ?? false;
      if (atOnce && !given.new) throw new Fault("SETTINGS_INVALID", "--at-once goes with --new: berth gateways token --new --at-once.");
      const { data } = settingsHere(here).settings;
      if (!existsSync(data))
        throw new Fault("DATA_FOLDER_UNUSABLE", `There is no data folder ${data}: start berth first, or name its folder by BERTH_DATA.`);
      const tokens = createGatewayTokens({ dataFolder: data, clock: here.clock });
      screen.print(given.new ? tokens.renew(atOnce) : tokens.current());
    },
  }),
};

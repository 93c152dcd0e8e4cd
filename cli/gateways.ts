import { existsSync } from "node:fs";
import { createGatewayTokens, REPLACED_TOKEN_MS } from "../control/identity/gateway-tokens.ts";
import { Fault } from "../lib/fault.ts";
import { loadSettings } from "./command-context.ts";
import { defineVerb, type Verbs } from "./command.ts";

/** `berth gateways <verb>`: what gateways on other machines join this control plane with. */
export const verbs: Verbs = {
  token: defineVerb({
    words: "",
    summary: "print the token with which gateways on other machines join this control plane (BERTH_GATEWAYS_PORT); it is made where there is none",
    options: {
      new: {
        summary: `make another one; the one before is good for ${REPLACED_TOKEN_MS / 60_000} more minutes, the time to bring the new one to every gateway`,
      },
      "at-once": { summary: "with --new: refuse the old token at once, because it may be stolen" },
    },
    run: async ({ context, options, screen }) => {
      const atOnce = options["at-once"] ?? false;
      if (atOnce && !options.new) throw new Fault("SETTINGS_INVALID", "--at-once goes with --new: berth gateways token --new --at-once.");
      const { data } = loadSettings(context).settings;
      if (!existsSync(data))
        throw new Fault("DATA_FOLDER_UNUSABLE", `There is no data folder ${data}: start berth first, or name its folder by BERTH_DATA.`);
      const tokens = createGatewayTokens({ dataFolder: data, clock: context.clock });
      screen.print(options.new ? tokens.renew(atOnce) : tokens.current());
    },
  }),
};

import { requestVerb } from "../server/server-command.ts";
import { formatTable } from "../terminal.ts";
import { type Verbs, defineVerb } from "../command.ts";
import { existsSync } from "node:fs";
import { changeSharedToken } from "../../control/identity/shared-folder.ts";
import { configuredPostgres } from "../../control/store/postgres/address.ts";
import { createGatewayTokens, REPLACED_TOKEN_MS } from "../../control/identity/gateway-tokens.ts";
import { Fault } from "../../lib/fault.ts";
import { loadSettings } from "../command-context.ts";

type SigningKeyOnWire = { kid: string; createdOn: string; signs: boolean; publishedUntil: string | null };

/** `berth keys <verb>`: the keys that docker tokens are signed with. */
export const SIGNING_KEYS: Verbs = {
  ls: requestVerb({
    aliases: ["list"],
    words: "",
    summary: "list the published keys, and which one signs",
    request: (call) => call<SigningKeyOnWire[]>("GET", "/admin/keys"),
    format: (keys, _words, screen) => {
      if (keys.length === 0) return "There is no key yet: the first token creates one.";
      const rows = keys.map(({ kid, createdOn, signs, publishedUntil }) => [
        kid,
        minute(createdOn),
        signs ? "signs" : `published until ${minute(publishedUntil)}`,
      ]);
      return formatTable(["KEY", "MADE", "STATE"], rows, screen);
    },
  }),
  add: requestVerb({
    expects: ["kid"],
    aliases: ["rotate"],
    words: "",
    summary: "create a new key that signs from now on; the old key stays published until its last token expires",
    request: (call) => call<{ kid: string }>("POST", "/admin/keys/rotate"),
    format: ({ kid }) => `${kid} signs from now on. Tokens of the previous key stay valid until they expire.`,
  }),
  rm: requestVerb({
    expects: ["isSuccess"],
    aliases: ["revoke"],
    words: "<key>",
    summary: "refuse all tokens of a key that may be stolen",
    request: (call, [kid = ""]) => call<unknown>("DELETE", `/admin/keys/${encodeURIComponent(kid)}`),
    format: (_done, [kid = ""]) => `Revoked ${kid}. A registry proxy refuses its tokens after it loads the keys again.`,
  }),
};

function minute(date: string | null): string {
  return (date ?? "").slice(0, 16).replace("T", " ");
}

/** `berth gateways <verb>` */
export const GATEWAY_TOKENS: Verbs = {
  token: defineVerb({
    words: "",
    summary: "print the token with which gateways on other machines join this control plane (BERTH_GATEWAYS_PORT); creates it if there is none",
    options: {
      new: {
        summary: `create another token; the old one stays valid for ${REPLACED_TOKEN_MS / 60_000} minutes, so that you can update every gateway`,
      },
      "at-once": { summary: "with --new: refuse the old token at once, because it may be stolen" },
    },
    run: async ({ context, options, screen }) => {
      const atOnce = options["at-once"] ?? false;
      if (atOnce && !options.new) throw new Fault("SETTINGS_INVALID", "--at-once goes with --new: berth gateways token --new --at-once.");
      const { data, database } = loadSettings(context).settings;
      const postgres = configuredPostgres(database);
      if (!existsSync(data))
        throw new Fault("DATA_FOLDER_UNUSABLE", `There is no data folder ${data}: start berth first, or set BERTH_DATA to its folder.`);
      const tokens = createGatewayTokens({ dataFolder: data, clock: context.clock });
      const change = () => (options.new ? tokens.renew(atOnce) : tokens.current());
      screen.print(postgres ? await changeSharedToken({ postgres, folder: data, clock: context.clock }, change) : change());
    },
  }),
};

import { Fault } from "../fault.ts";
import type { CallControl } from "./call-control.ts";
import { callHere, type Here } from "./here.ts";
import { textTable } from "./text-table.ts";

type KeyOnWire = { kid: string; createdOn: string; signs: boolean; publishedUntil: string | null };
type Verb = { usage: string; says: string; words: 0 | 1; run(call: CallControl, word: string): Promise<string> };

/** `berth keys <verb>`. */
const VERBS: Record<string, Verb> = {
  list: {
    usage: "list",
    says: "the published keys, and which one signs",
    words: 0,
    run: async (call) => {
      const keys = await call<KeyOnWire[]>("GET", "/admin/keys");
      if (keys.length === 0) return "There is no key yet: the first token makes one.";
      return textTable(
        ["KEY", "MADE", "STATE"],
        keys.map(({ kid, createdOn, signs, publishedUntil }) => [
          kid,
          minute(createdOn),
          signs ? "signs" : `published until ${minute(publishedUntil)}`,
        ]),
      );
    },
  },
  rotate: {
    usage: "rotate",
    says: "a new key signs from now on; the one before stays published until its last token has ended",
    words: 0,
    run: async (call) => {
      const { kid } = await call<{ kid: string }>("POST", "/admin/keys/rotate");
      return `${kid} signs from now on. Tokens of the key before it are good until they end.`;
    },
  },
  revoke: {
    usage: "revoke <key>",
    says: "tokens that it signed are no longer good; for a key that somebody else may have",
    words: 1,
    run: async (call, kid) => {
      await call("DELETE", `/admin/keys/${encodeURIComponent(kid)}`);
      return `Revoked ${kid}. A registry proxy refuses its tokens when it next asks for the keys.`;
    },
  },
};

/**
 * `berth keys …`: the keys that docker tokens are signed with, at the berth that runs on this data folder; answers with what to print. Faults:
 * SETTINGS_INVALID for a command line that is wrong, and those of `call`.
 */
export async function runKeys(args: string[], call: CallControl): Promise<string> {
  const [name = "", ...words] = args;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) throw new Fault("SETTINGS_INVALID", `${name === "" ? "Name what to do." : `There is no "berth keys ${name}".`} There are:\n${usage}`);
  if (words.length !== verb.words) throw new Fault("SETTINGS_INVALID", `Usage: berth keys ${verb.usage}`);
  return verb.run(call, words[0] ?? "");
}

export const usage = Object.values(VERBS)
  .map((verb) => `  berth keys ${verb.usage}\n      ${verb.says}`)
  .join("\n");

function minute(date: string | null): string {
  return (date ?? "").slice(0, 16).replace("T", " ");
}

/** `berth keys` */
export async function run(here: Here): Promise<void> {
  console.log(await runKeys(here.args, callHere(here)));
}

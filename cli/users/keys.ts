import { requestVerb } from "../server/server-command.ts";
import { formatTable } from "../terminal/text-table.ts";
import type { Verbs } from "../command.ts";

type SigningKeyOnWire = { kid: string; createdOn: string; signs: boolean; publishedUntil: string | null };

/** `berth keys <verb>`: the keys that docker tokens are signed with. */
export const verbs: Verbs = {
  list: requestVerb({
    words: "",
    says: "list the published keys, and which one signs",
    options: {},
    ask: (call) => call<SigningKeyOnWire[]>("GET", "/admin/keys"),
    shows: (keys, _words, screen) => {
      if (keys.length === 0) return "There is no key yet: the first token makes one.";
      const rows = keys.map(({ kid, createdOn, signs, publishedUntil }) => [
        kid,
        minute(createdOn),
        signs ? "signs" : `published until ${minute(publishedUntil)}`,
      ]);
      return formatTable(["KEY", "MADE", "STATE"], rows, screen);
    },
  }),
  rotate: requestVerb({
    words: "",
    says: "make a new key that signs from now on; the old key stays published until its last token ends",
    options: {},
    ask: (call) => call<{ kid: string }>("POST", "/admin/keys/rotate"),
    shows: ({ kid }) => `${kid} signs from now on. Tokens of the key before it are good until they end.`,
  }),
  revoke: requestVerb({
    words: "<key>",
    says: "refuse all tokens of a key; use it when the key may be stolen",
    options: {},
    ask: (call, [kid = ""]) => call<unknown>("DELETE", `/admin/keys/${encodeURIComponent(kid)}`),
    shows: (_done, [kid = ""]) => `Revoked ${kid}. A registry proxy refuses its tokens when it next asks for the keys.`,
  }),
};

function minute(date: string | null): string {
  return (date ?? "").slice(0, 16).replace("T", " ");
}

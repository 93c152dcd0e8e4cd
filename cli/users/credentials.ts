import type { CallControl } from "../server/server-client.ts";
import type { Screen } from "../terminal/screen.ts";
import { question } from "../server/question.ts";
import type { Verbs } from "../verb.ts";
import { readInput, readPairs } from "./read-values.ts";

/** Values are masked already when they come. */
type Shown = { name: string; parameters: Record<string, string>; warnings?: string[] };

const OF = "<package>[.<entity>]";

/** `berth credentials <verb>`; what is printed never holds a value. */
export const verbs: Verbs = {
  list: question({
    words: "<package.entity>",
    says: `the names of a package's or, as ${OF}, of a connection's credentials; values are never shown`,
    options: {},
    ask: (call, [target = ""]) => call<Shown>("GET", path(target)),
    shows: table,
  }),
  set: question({
    words: "<package.entity> [<name=value>...]",
    says: "sets credentials beside those that there are; without a pair or with -, reads a JSON object or lines of <name>=<value> from standard input",
    options: {},
    ask: (call, [target = "", ...given], _options, screen) => setValues(call, target, given, screen),
    shows: table,
  }),
  remove: question({
    words: "<package.entity> [<name>...]",
    says: "removes credentials: all, or those named",
    options: {},
    ask: (call, [target = "", ...names]) => {
      const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
      return call<Shown>("DELETE", `${path(target)}${query && `?${query}`}`);
    },
    shows: table,
  }),
  rotate: question({
    words: "",
    says: "makes a new key and seals all credentials with it; a copy of the database from before still needs the old one",
    options: {},
    ask: (call) => call<{ keyId: string; resealed: number }>("POST", "/credentials/rotate"),
    shows: ({ keyId, resealed }) => `The key is ${keyId} now; ${resealed} credentials were sealed with it. Keep a copy of the key file.`,
  }),
};

async function setValues(call: CallControl, target: string, given: string[], { input, tell }: Screen): Promise<Shown> {
  const pairs = given.length === 1 && given[0] === "-" ? [] : given;
  // For people only, not for programs that read the output.
  const hint = (sentence: string) => void (input.isTTY && tell(sentence));
  if (pairs.length > 0) hint("What stands in a command line can be read by others on this machine: standard input is safer.");
  else hint("Reads a JSON object, or lines of <name>=<value>, up to the end of standard input (Ctrl-D).");
  return call<Shown>("PATCH", path(target), pairs.length > 0 ? readPairs(pairs) : await readInput(input));
}

/** A scope's slash is encoded too: the whole is one name. */
function path(target: string): string {
  return `/credentials/for/${encodeURIComponent(target)}`;
}

function table({ name, parameters, warnings = [] }: Shown): string {
  const names = Object.keys(parameters);
  const lines = names.length === 0 ? [`${name} has no credentials.`] : [`${name}:`, ...names.map((one) => `  ${one} = ***`)];
  return [...lines, ...warnings.map((warning) => `Note: ${warning}`)].join("\n");
}

import { Fault } from "../../lib/fault.ts";
import type { Verbs } from "../command.ts";
import type { CallApi } from "../server/server-client.ts";
import { requestVerb } from "../server/server-command.ts";
import type { Screen } from "../terminal.ts";

/** The server masks the values. */
type CredentialsOnWire = { name: string; parameters: Record<string, string>; warnings?: string[] };

const NAME_FORM = "<package>[.<entity>]";

/** `berth credentials <verb>`: prints no value. */
export const verbs: Verbs = {
  ls: requestVerb({
    aliases: ["list"],
    words: "<package.entity>",
    summary: `list the names of a package's or, as ${NAME_FORM}, of a connection's credentials; values are never shown`,
    request: (call, [target = ""]) => call<CredentialsOnWire>("GET", path(target)),
    format: table,
  }),
  add: requestVerb({
    aliases: ["set"],
    words: "<package.entity> [<name=value>...]",
    summary: "set credentials, and keep the others; without a pair or with -, read a JSON object or lines of <name>=<value> from standard input",
    request: (call, [target = "", ...given], _options, screen) => setValues(call, target, given, screen),
    format: table,
  }),
  rm: requestVerb({
    aliases: ["remove"],
    words: "<package.entity> [<name>...]",
    summary: "remove all credentials, or the named ones",
    request: (call, [target = "", ...names]) => {
      const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
      return call<CredentialsOnWire>("DELETE", `${path(target)}${query && `?${query}`}`);
    },
    format: table,
  }),
  rotate: requestVerb({
    expects: ["keyId"],
    words: "",
    summary: "create a new key and seal all credentials with it; older copies of the database need the old key",
    request: (call) => call<{ keyId: string; resealed: number }>("POST", "/credentials/rotate"),
    format: ({ keyId, resealed }) => `The key is ${keyId} now; ${resealed} credentials were sealed with it. Keep a copy of the key file.`,
  }),
};

async function setValues(call: CallApi, target: string, given: string[], { input, note }: Screen): Promise<CredentialsOnWire> {
  const pairs = given.length === 1 && given[0] === "-" ? [] : given;
  // Only for a user at a terminal.
  const hint = (sentence: string) => void (input.isTTY && note(sentence));
  if (pairs.length > 0) hint("Others on this machine can read a command line: standard input is safer.");
  else hint("Reads a JSON object, or lines of <name>=<value>, up to the end of standard input (Ctrl-D).");
  return call<CredentialsOnWire>("PATCH", path(target), pairs.length > 0 ? parsePairs(pairs) : await readInput(input));
}

/** Encodes the slash of a scope too: the target is one name. */
function path(target: string): string {
  return `/credentials/for/${encodeURIComponent(target)}`;
}

function table({ name, parameters, warnings = [] }: CredentialsOnWire): string {
  const names = Object.keys(parameters);
  const lines = names.length === 0 ? [`${name} has no credentials.`] : [`${name}:`, ...names.map((one) => `  ${one} = ***`)];
  return [...lines, ...warnings.map((warning) => `Note: ${warning}`)].join("\n");
}

const MAX_INPUT = 262_144;

/** Lines of `<name>=<value>`; a value may hold `=`, a name may not. Faults: SETTINGS_INVALID, without a value in it. */
export function parsePairs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair, index) => {
      const at = pair.indexOf("=");
      // Not in the message: the pair may be a secret without its name.
      if (at < 1) throw new Fault("SETTINGS_INVALID", `The ${ordinal(index)} credential is not <name>=<value>.`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** A JSON object, or lines as in `parsePairs`. Faults: SETTINGS_INVALID, without a value in it. */
export async function readInput(input: AsyncIterable<Buffer | string>): Promise<object> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of input) {
    bytes += piece.length;
    if (bytes > MAX_INPUT) throw new Fault("SETTINGS_INVALID", `The input is longer than ${MAX_INPUT} bytes.`);
    pieces.push(Buffer.from(piece));
  }
  const text = Buffer.concat(pieces).toString("utf8").trim();
  if (text === "") throw new Fault("SETTINGS_INVALID", "Standard input is empty.");
  if (!text.startsWith("{")) return parsePairs(text.split(/\r?\n/).filter((line) => line.trim() !== ""));
  try {
    return JSON.parse(text) as object;
  } catch {
    throw new Fault("SETTINGS_INVALID", "The input begins like a JSON object, but is not valid JSON.");
  }
}

function ordinal(index: number): string {
  return ["first", "second", "third"][index] ?? `${index + 1}th`;
}

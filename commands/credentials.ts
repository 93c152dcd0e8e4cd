import { Fault } from "../fault.ts";
import type { CallControl } from "./call-control.ts";
import { callHere, type Here } from "./here.ts";

type Shown = { name: string; parameters: Record<string, string>; warnings?: string[] };
type Parts = {
  call: CallControl;
  /** What comes on standard input. */
  input: AsyncIterable<Buffer | string>;
  /** For people only, not for programs that read the output. */
  hint(sentence: string): void;
};
type Verb = { usage: string; says: string; run(parts: Parts, args: string[]): Promise<string> };

const LARGEST_INPUT = 262_144;

/** `berth credentials <verb>`. */
const VERBS: Record<string, Verb> = {
  list: {
    usage: "list <package>[.<entity>]",
    says: "the names of a package's or a connection's credentials; values are never shown",
    run: async ({ call }, args) => {
      const [target] = words(args, 1, 1);
      return table(await call<Shown>("GET", path(target)));
    },
  },
  set: {
    usage: "set <package>[.<entity>] [<name>=<value>... | -]",
    says: "sets credentials beside those that there are; without a pair or with -, reads a JSON object or lines of <name>=<value> from standard input",
    run: async ({ call, input, hint }, args) => {
      const [target, ...given] = words(args, 1, Number.POSITIVE_INFINITY);
      const pairs = given.length === 1 && given[0] === "-" ? [] : given;
      if (pairs.length > 0) hint("What stands in a command line can be read by others on this machine: standard input is safer.");
      const values = pairs.length > 0 ? readPairs(pairs) : await readInput(input, hint);
      return table(await call<Shown>("PATCH", path(target), values));
    },
  },
  remove: {
    usage: "remove <package>[.<entity>] [<name>...]",
    says: "removes credentials: all, or those named",
    run: async ({ call }, args) => {
      const [target, ...names] = words(args, 1, Number.POSITIVE_INFINITY);
      const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
      return table(await call<Shown>("DELETE", `${path(target)}${query && `?${query}`}`));
    },
  },
  rotate: {
    usage: "rotate",
    says: "makes a new key and seals all credentials with it; a copy of the database from before still needs the old one",
    run: async ({ call }, args) => {
      words(args, 0, 0);
      const { keyId, resealed } = await call<{ keyId: string; resealed: number }>("POST", "/credentials/rotate");
      return `The key is ${keyId} now; ${resealed} credentials were sealed with it. Keep a copy of the key file.`;
    },
  },
};

/**
 * `berth credentials …`, at the berth that runs on this data folder; answers with what to print, which never holds a value.
 * Faults: SETTINGS_INVALID for a command line or an input that is wrong, and those of the call.
 */
export async function runCredentials(args: string[], parts: Parts): Promise<string> {
  const [name = "", ...rest] = args;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) throw wrong(name === "" ? "Name what to do." : `There is no "berth credentials ${name}".`);
  return verb.run(parts, rest);
}

function words(args: string[], least: number, most: number): string[] & { 0: string } {
  if (args.length < least || args.length > most || args[0] === "") throw wrong("The command line is not complete, or has too much in it.");
  return args as string[] & { 0: string };
}

export const usage = Object.values(VERBS)
  .map((verb) => `  berth credentials ${verb.usage}\n      ${verb.says}`)
  .join("\n");

function wrong(sentence: string): Fault {
  return new Fault("SETTINGS_INVALID", `${sentence} There are:\n${usage}`);
}

/** A scope's slash is encoded too: the whole is one name. */
function path(target: string): string {
  return `/credentials/for/${encodeURIComponent(target)}`;
}

/** A value may hold `=`, a name may not. */
function readPairs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair, index) => {
      const at = pair.indexOf("=");
      // The pair itself may be a secret that somebody typed without its name.
      if (at < 1) throw new Fault("SETTINGS_INVALID", `The ${ordinal(index)} credential is not <name>=<value>.`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

async function readInput(input: Parts["input"], hint: Parts["hint"]): Promise<object> {
  hint("Reads a JSON object, or lines of <name>=<value>, up to the end of standard input (Ctrl-D).");
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of input) {
    bytes += piece.length;
    if (bytes > LARGEST_INPUT) throw new Fault("SETTINGS_INVALID", `The input is longer than ${LARGEST_INPUT} bytes.`);
    pieces.push(Buffer.from(piece));
  }
  const text = Buffer.concat(pieces).toString("utf8").trim();
  if (text === "") throw new Fault("SETTINGS_INVALID", "There is nothing on standard input.");
  if (!text.startsWith("{")) return readPairs(text.split(/\r?\n/).filter((line) => line.trim() !== ""));
  try {
    return JSON.parse(text) as object;
  } catch {
    throw new Fault("SETTINGS_INVALID", "The input begins like a JSON object, and is none.");
  }
}

function ordinal(index: number): string {
  return ["first", "second", "third"][index] ?? `${index + 1}th`;
}

function table({ name, parameters, warnings = [] }: Shown): string {
  const names = Object.keys(parameters);
  const lines = names.length === 0 ? [`${name} has no credentials.`] : [`${name}:`, ...names.map((one) => `  ${one} = ***`)];
  return [...lines, ...warnings.map((warning) => `Note: ${warning}`)].join("\n");
}

/** `berth credentials` */
export async function run(here: Here): Promise<void> {
  const hint = (sentence: string) => void (process.stdin.isTTY && console.error(sentence));
  console.log(await runCredentials(here.args, { call: callHere(here), input: process.stdin, hint }));
}

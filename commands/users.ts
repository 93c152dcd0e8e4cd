import { Fault } from "../fault.ts";
import type { CallControl } from "./call-control.ts";
import { callHere, type Here } from "./here.ts";
import { textTable } from "./text-table.ts";
import { readWords } from "./read-words.ts";

type Options = Record<string, { type: "string" | "boolean"; multiple?: boolean }>;
type Given = Record<string, string | boolean | (string | boolean)[] | undefined>;

/** `words` is how many stand before the options. */
type Verb = {
  usage: string;
  says: string;
  words: 0 | 1 | 2;
  options?: Options;
  run(call: CallControl, words: string[], given: Given): Promise<string>;
};

type PersonOnWire = { login: string; admin: boolean; groups: string[]; keys: number; createdOn: string };
type KeyOnWire = { id: string; label: string; createdOn: string; fromSetting: boolean };

const GROUP = { type: "string", multiple: true } as const;

/** `berth users <verb>`; a key's verbs have two words. */
const VERBS: Record<string, Verb> = {
  list: {
    usage: "list",
    says: "who there is",
    words: 0,
    run: async (call) => {
      const people = await call<PersonOnWire[]>("GET", "/users");
      return textTable(
        ["LOGIN", "RIGHTS", "GROUPS", "KEYS", "SINCE"],
        people.map((one) => [one.login, one.admin ? "admin" : "user", one.groups.join(" ") || "-", String(one.keys), day(one.createdOn)]),
      );
    },
  },
  add: {
    usage: "add <login> [--admin] [--group <name>]...",
    says: "a new user, who still needs a key",
    words: 1,
    options: { admin: { type: "boolean" }, group: GROUP },
    run: async (call, [login = ""], given) => {
      await call("POST", "/users", { login, admin: given["admin"] ?? false, groups: given["group"] ?? [] });
      return `Added ${login}. A key to publish and to sign in with: berth users key add ${login}`;
    },
  },
  change: {
    usage: "change <login> [--admin|--no-admin] [--group <name>]...|[--no-group]",
    says: "rights, and the groups that the user is in from now on",
    words: 1,
    options: {
      admin: { type: "boolean" },
      "no-admin": { type: "boolean" },
      group: GROUP,
      "no-group": { type: "boolean" },
    },
    run: async (call, [login = ""], given) => {
      const admin = given["admin"] ? true : given["no-admin"] ? false : undefined;
      const groups = given["no-group"] ? [] : given["group"];
      if (admin === undefined && groups === undefined)
        throw new Fault("SETTINGS_INVALID", "Name what to change: --admin, --no-admin, --group <name> or --no-group.");
      const person = await call<PersonOnWire>("PATCH", path(login), {
        ...(admin === undefined ? {} : { admin }),
        ...(groups === undefined ? {} : { groups }),
      });
      return `${login} is ${person.admin ? "an administrator" : "a user"}, in ${person.groups.length === 0 ? "no group" : person.groups.join(", ")}.`;
    },
  },
  remove: {
    usage: "remove <login>",
    says: "ends the user's keys and sessions; packages go to admin",
    words: 1,
    run: async (call, [login = ""]) => {
      const { packages } = await call<{ packages: string[] }>("DELETE", path(login));
      return `Removed ${login}.${packages.length === 0 ? "" : ` The author of ${packages.join(", ")} is admin now.`}`;
    },
  },
  "key list": {
    usage: "key list <login>",
    says: "developer keys, by their ids",
    words: 1,
    run: async (call, [login = ""]) => {
      const keys = await call<KeyOnWire[]>("GET", `${path(login)}/keys`);
      return textTable(
        ["ID", "MADE", "LABEL"],
        keys.map((key) => [key.id, day(key.createdOn), key.fromSetting ? "(from the settings)" : key.label]),
      );
    },
  },
  "key add": {
    usage: "key add <login> [--label <text>]",
    says: "a developer key, printed this once",
    words: 1,
    options: { label: { type: "string" } },
    run: async (call, [login = ""], given) => {
      const { key } = await call<{ key: string }>("POST", `${path(login)}/keys`, { label: given["label"] ?? "" });
      return key;
    },
  },
  "key revoke": {
    usage: "key revoke <login> <id>",
    says: "ends a key, and the sessions that it opened",
    words: 2,
    run: async (call, [login = "", id = ""]) => {
      await call("DELETE", `${path(login)}/keys/${encodeURIComponent(id)}`);
      return `Revoked ${id}. Sessions that it opened are refused within 10 s.`;
    },
  },
};

/**
 * `berth users …`: has the berth that runs add, list and remove people and their keys; answers with what to print.
 * Faults: SETTINGS_INVALID for a command line that is wrong, and those of `call`.
 */
export async function runUsers(args: string[], call: CallControl): Promise<string> {
  const [first = "", second = ""] = args;
  const name = first === "key" ? `key ${second}` : first;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) throw wrong(args.length === 0 ? "Name what to do." : `There is no "berth users ${name.trim()}".`);
  const { words, given } = readVerb(verb, args.slice(name.split(" ").length));
  return verb.run(call, words, given);
}

function readVerb(verb: Verb, args: string[]): { words: string[]; given: Given } {
  const ofVerb = `Usage: berth users ${verb.usage}`;
  const { positionals, values } = readWords({ args, options: verb.options ?? {}, allowPositionals: true }, ofVerb);
  if (positionals.length === verb.words) return { words: positionals, given: values };
  throw new Fault("SETTINGS_INVALID", ofVerb);
}

export const usage = Object.values(VERBS)
  .map((verb) => `  berth users ${verb.usage}\n      ${verb.says}`)
  .join("\n");

function wrong(sentence: string): Fault {
  return new Fault("SETTINGS_INVALID", `${sentence} There are:\n${usage}`);
}

function path(login: string): string {
  return `/users/${encodeURIComponent(login)}`;
}

function day(date: string): string {
  return date.slice(0, 10);
}

/** `berth users` */
export async function run(here: Here): Promise<void> {
  console.log(await runUsers(here.args, callHere(here)));
}

import { Fault } from "../../lib/fault.ts";
import { requestVerb } from "../server/server-command.ts";
import { formatTable } from "../terminal/text-table.ts";
import type { Verbs } from "../command.ts";

type UserOnWire = { login: string; admin: boolean; groups: string[]; keys: number; createdOn: string };
type DeveloperKeyOnWire = { id: string; label: string; createdOn: string; fromSetting: boolean };

const GROUP = {
  value: "<name>",
  repeatable: true,
  summary: "a group that the user is in; who shares one with a package's author may do what the author may",
} as const;

/** `berth users <verb>`; a key's verbs have two words. */
export const verbs: Verbs = {
  list: requestVerb({
    words: "",
    says: "who there is",
    options: {},
    ask: (call) => call<UserOnWire[]>("GET", "/users"),
    shows: (users, _words, screen) =>
      formatTable(
        ["LOGIN", "RIGHTS", "GROUPS", "KEYS", "SINCE"],
        users.map((one) => [one.login, one.admin ? "admin" : "user", one.groups.join(" ") || "-", String(one.keys), day(one.createdOn)]),
        screen,
      ),
  }),
  add: requestVerb({
    words: "<login>",
    says: "a new user, who still needs a key",
    options: { admin: { summary: "an administrator" }, group: GROUP },
    ask: (call, [login = ""], { admin = false, group = [] }) => call<UserOnWire>("POST", "/users", { login, admin, groups: group }),
    shows: (_user, [login = ""]) => `Added ${login}. A key to publish and to sign in with: berth users key add ${login}`,
  }),
  change: requestVerb({
    words: "<login>",
    says: "rights, and the groups that the user is in from now on",
    options: {
      admin: { summary: "make an administrator of the user" },
      "no-admin": { summary: "and no longer" },
      group: GROUP,
      "no-group": { summary: "in no group" },
    },
    completes: "users",
    ask: (call, [login = ""], options) => {
      const admin = options.admin ? true : options["no-admin"] ? false : undefined;
      const groups = options["no-group"] ? [] : options.group;
      if (admin === undefined && groups === undefined)
        throw new Fault("SETTINGS_INVALID", "Name what to change: --admin, --no-admin, --group <name> or --no-group.");
      return call<UserOnWire>("PATCH", path(login), { ...(admin === undefined ? {} : { admin }), ...(groups === undefined ? {} : { groups }) });
    },
    shows: ({ admin, groups }, [login = ""]) =>
      `${login} is ${admin ? "an administrator" : "a user"}, in ${groups.length === 0 ? "no group" : groups.join(", ")}.`,
  }),
  remove: requestVerb({
    words: "<login>",
    says: "ends the user's keys and sessions; packages go to admin",
    options: {},
    completes: "users",
    ask: (call, [login = ""]) => call<{ packages: string[] }>("DELETE", path(login)),
    shows: ({ packages }, [login = ""]) => `Removed ${login}.${packages.length === 0 ? "" : ` The author of ${packages.join(", ")} is admin now.`}`,
  }),
  "key list": requestVerb({
    words: "<login>",
    says: "developer keys, by their ids",
    options: {},
    completes: "users",
    ask: (call, [login = ""]) => call<DeveloperKeyOnWire[]>("GET", `${path(login)}/keys`),
    shows: (keys, _words, screen) =>
      formatTable(
        ["ID", "MADE", "LABEL"],
        keys.map((key) => [key.id, day(key.createdOn), key.fromSetting ? "(from the settings)" : key.label]),
        screen,
      ),
  }),
  "key add": requestVerb({
    words: "<login>",
    says: "a developer key, printed this once",
    options: { label: { value: "<text>", summary: "what it is for" } },
    completes: "users",
    ask: (call, [login = ""], { label = "" }) => call<DeveloperKeyOnWire & { key: string }>("POST", `${path(login)}/keys`, { label }),
    shows: ({ key }) => key,
  }),
  "key revoke": requestVerb({
    words: "<login> <id>",
    says: "ends a key, and the sessions that it opened",
    options: {},
    completes: "users",
    ask: (call, [login = "", id = ""]) => call<{ isSuccess: boolean }>("DELETE", `${path(login)}/keys/${encodeURIComponent(id)}`),
    shows: (_done, [, id = ""]) => `Revoked ${id}. Sessions that it opened are refused within 10 s.`,
  }),
};

function path(login: string): string {
  return `/users/${encodeURIComponent(login)}`;
}

function day(date: string): string {
  return date.slice(0, 10);
}

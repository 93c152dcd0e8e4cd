import { Fault } from "../../lib/fault.ts";
import { requestVerb } from "../server/server-command.ts";
import { formatTable } from "../terminal.ts";
import type { Verbs } from "../command.ts";

type UserOnWire = {
  login: string;
  admin: boolean;
  groups: string[];
  keys: number;
  createdOn: string;
  subject: string | null;
  blockedOn: string | null;
};
type DeveloperKeyOnWire = { id: string; label: string; createdOn: string; lastUsedOn: string | null; fromSetting: boolean };

const GROUP = {
  value: "<name>",
  repeatable: true,
  summary: "a group of the user; members of an author's group have the author's rights",
} as const;

/** `berth users <verb>` */
export const verbs: Verbs = {
  ls: requestVerb({
    aliases: ["list"],
    words: "",
    summary: "list users",
    request: (call) => call<UserOnWire[]>("GET", "/users"),
    format: (users, _words, screen) =>
      formatTable(
        ["LOGIN", "RIGHTS", "GROUPS", "KEYS", "SINCE"],
        users.map((one) => [
          one.login,
          typeof one.blockedOn === "string" ? "blocked" : one.admin ? "admin" : "user",
          one.groups.join(" ") || "-",
          String(one.keys),
          day(one.createdOn),
        ]),
        screen,
      ),
  }),
  add: requestVerb({
    expects: ["login"],
    words: "<login>",
    summary: "add a user; add a key afterwards",
    options: { admin: { summary: "make the user an administrator" }, group: GROUP },
    request: (call, [login = ""], { admin = false, group = [] }) => call<UserOnWire>("POST", "/users", { login, admin, groups: group }),
    format: (_user, [login = ""]) => `Added ${login}. Next, add a key to publish and sign in with: berth users key add ${login}`,
  }),
  change: requestVerb({
    expects: ["login"],
    words: "<login>",
    summary: "change a user's rights and groups",
    options: {
      admin: { summary: "make the user an administrator" },
      "no-admin": { summary: "remove the administrator's rights" },
      group: GROUP,
      "no-group": { summary: "remove the user from all groups" },
    },
    completes: "users",
    request: (call, [login = ""], options) => {
      const admin = options.admin ? true : options["no-admin"] ? false : undefined;
      const groups = options["no-group"] ? [] : options.group;
      if (admin === undefined && groups === undefined)
        throw new Fault("SETTINGS_INVALID", "Name what to change: --admin, --no-admin, --group <name> or --no-group.");
      return call<UserOnWire>("PATCH", path(login), { ...(admin === undefined ? {} : { admin }), ...(groups === undefined ? {} : { groups }) });
    },
    format: ({ admin, groups }, [login = ""]) =>
      `${login} is ${admin ? "an administrator" : "a user"}, in ${groups.length === 0 ? "no group" : groups.join(", ")}.`,
  }),
  block: requestVerb({
    expects: ["login"],
    words: "<login>",
    summary: "block a user: all sessions end, and no key is valid",
    completes: "users",
    request: (call, [login = ""]) => call<UserOnWire>("PUT", `${path(login)}/block`),
    format: (_user, [login = ""]) => `Blocked ${login}. All sessions end within 10 s. To undo: berth users unblock ${login}`,
  }),
  unblock: requestVerb({
    expects: ["login"],
    words: "<login>",
    summary: "unblock a user: the keys are valid again",
    completes: "users",
    request: (call, [login = ""]) => call<UserOnWire>("DELETE", `${path(login)}/block`),
    format: (_user, [login = ""]) => `Unblocked ${login}.`,
  }),
  link: requestVerb({
    expects: ["login"],
    words: "<login> <subject>",
    summary: "let a subject of the sign-in provider sign in as this user",
    options: { provider: { value: "<id>", summary: "the sign-in provider, if the server has several; the default is the first one" } },
    completes: "users",
    request: (call, [login = "", subject = ""], { provider }) =>
      call<UserOnWire>("PUT", `${path(login)}/subject`, { subject, ...(provider === undefined ? {} : { provider }) }),
    format: ({ subject }, [login = ""]) => `The subject ${subject} signs in as ${login} from now on.`,
  }),
  unlink: requestVerb({
    expects: ["login"],
    words: "<login>",
    summary: "undo that; the keys stay valid",
    completes: "users",
    request: (call, [login = ""]) => call<UserOnWire>("DELETE", `${path(login)}/subject`),
    format: (_user, [login = ""]) => `No subject of the sign-in provider signs in as ${login} any more.`,
  }),
  rm: requestVerb({
    expects: ["packages"],
    aliases: ["remove"],
    words: "<login>",
    summary: "remove a user with all keys and sessions; their packages go to admin",
    completes: "users",
    request: (call, [login = ""]) => call<{ packages: string[] }>("DELETE", path(login)),
    format: ({ packages }, [login = ""]) => `Removed ${login}.${packages.length === 0 ? "" : ` The author of ${packages.join(", ")} is admin now.`}`,
  }),
  "key ls": requestVerb({
    aliases: ["key list"],
    words: "<login>",
    summary: "list a user's developer keys by id",
    completes: "users",
    request: (call, [login = ""]) => call<DeveloperKeyOnWire[]>("GET", `${path(login)}/keys`),
    format: (keys, _words, screen) =>
      formatTable(
        ["ID", "MADE", "LAST USE", "LABEL"],
        keys.map((key) => [
          key.id,
          day(key.createdOn),
          key.lastUsedOn === null ? "-" : day(key.lastUsedOn),
          key.fromSetting ? "(from the settings)" : key.label,
        ]),
        screen,
      ),
  }),
  "key add": requestVerb({
    expects: ["key"],
    words: "<login>",
    summary: "add a developer key, and print it once",
    options: { label: { value: "<text>", summary: "purpose of the key" } },
    completes: "users",
    request: (call, [login = ""], { label = "" }) => call<DeveloperKeyOnWire & { key: string }>("POST", `${path(login)}/keys`, { label }),
    format: ({ id, key }, [login = ""], screen) => {
      // If the output is lost, to a full disk for example, the id is there to revoke the key.
      screen.note(`Added key ${id} of ${login}; it is shown only now.`);
      return key;
    },
  }),
  "key rm": requestVerb({
    expects: ["isSuccess"],
    aliases: ["key revoke"],
    words: "<login> <id>",
    summary: "revoke a key, and end its sessions",
    completes: "users",
    request: (call, [login = "", id = ""]) => call<{ isSuccess: boolean }>("DELETE", `${path(login)}/keys/${encodeURIComponent(id)}`),
    format: (_done, [, id = ""]) => `Revoked ${id}. Its sessions end within 10 s.`,
  }),
};

function path(login: string): string {
  return `/users/${encodeURIComponent(login)}`;
}

function day(date: string): string {
  return date.slice(0, 10);
}

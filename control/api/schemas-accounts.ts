import { type Static, Type } from "typebox";
import { PUBLISHER_RIGHTS } from "../model/records.ts";
import { count, date, mapOf, nullable, oneOf, text, USER } from "./schemas.ts";

// Users, their keys and sessions, and what credentials are set for. The console uses these types too, so this file imports nothing that needs Node.

/** Rows are short, so a page of them is written within a millisecond. */
export const MOST_ACCOUNT_ROWS = 200;

/** Which part of a list, and a text that its rows contain. */
export const PAGE_QUERY = Type.Object({
  text: Type.Optional(Type.String({ maxLength: 200, description: "a part of a name, a label or an id, in any case" })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_ACCOUNT_ROWS, default: MOST_ACCOUNT_ROWS })),
  page: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, default: 1, description: "counts from 1" })),
});
export type PageQuery = Static<typeof PAGE_QUERY>;

/** Credentials have more text in a row. */
export const MOST_CREDENTIAL_PACKAGES = 50;

const groupNames = Type.Array(text, { description: "names of groups" });

/** The signed-in user. */
export const OWN_USER = Type.Object({ ...USER.properties, groups: groupNames });
export type OwnUserJson = Static<typeof OWN_USER>;

/** A user, as administrators see one. */
export const ACCOUNT = Type.Object({
  ...USER.properties,
  groups: groupNames,
  keys: Type.Integer({ description: "how many developer keys" }),
  subject: nullable(text, { description: "who signs in as this user at the sign-in provider; null: no one" }),
  provider: nullable(text, { description: "what that provider is called; its issuer, if the settings do not name it" }),
  blockedOn: nullable(date, { description: "since when no key and no session of the user is valid; null: they are" }),
});
export type AccountJson = Static<typeof ACCOUNT>;
export const ACCOUNT_ROWS = Type.Object({ total: count, rows: Type.Array(ACCOUNT) });

const key = {
  id: text,
  label: text,
  createdOn: date,
  lastUsedOn: nullable(date, { description: "to the hour; null: not since berth keeps it" }),
  fromSetting: Type.Boolean({ description: "it is BERTH_ADMIN_KEY, or admin.key in the data folder" }),
};
/** A developer key, without the key itself. */
export const DEVELOPER_KEY = Type.Object(key);
export const NEW_DEVELOPER_KEY = Type.Object({ ...key, key: Type.String({ description: "no other response contains it" }) });
export type NewDeveloperKeyJson = Static<typeof NEW_DEVELOPER_KEY>;

export const DEVELOPER_KEYS = Type.Object({
  total: count,
  rows: Type.Array(
    Type.Object({
      ...key,
      login: text,
      sessions: Type.Integer({ description: "open sessions that it started" }),
      isCurrent: Type.Boolean({ description: "the request, or its session, is authenticated by it" }),
    }),
  ),
});
export type DeveloperKeysJson = Static<typeof DEVELOPER_KEYS>;

export const GROUP_ROWS = Type.Object({ total: count, rows: Type.Array(Type.Object({ name: text, members: count })) });
export type GroupRowsJson = Static<typeof GROUP_ROWS>;

export const TRUSTED_PUBLISHER = Type.Object({
  name: text,
  issuer: text,
  audience: text,
  claims: mapOf(text),
  login: Type.String({ description: "the author of what its jobs publish" }),
  packages: Type.Array(text),
  repositories: Type.Array(text),
  rights: Type.Array(oneOf(PUBLISHER_RIGHTS)),
  lifetimeMinutes: Type.Integer(),
  createdOn: date,
});
export type TrustedPublisherJson = Static<typeof TRUSTED_PUBLISHER>;

const SESSION_USES = ["console", "administration", "page", "plain"] as const;

export const SESSION_ROWS = Type.Object({
  total: count,
  rows: Type.Array(
    Type.Object({
      id: text,
      login: text,
      use: oneOf(SESSION_USES, {
        description:
          "`console`: the console; `administration`: a command line with administration; `page`: the page of a container, opened from the console; `plain`: any other",
      }),
      key: Type.Unsafe<{ id: string; label: string } | null>({
        type: ["object", "null"],
        properties: { id: text, label: text },
        description: "the developer key that opened it; the session ends with it",
      }),
      createdOn: nullable(date, { description: "null: before berth kept the time" }),
      expiresOn: date,
      address: nullable(text, { description: "the client that opened it; null: unknown" }),
      isCurrent: Type.Boolean({ description: "the session of the request" }),
    }),
  ),
});
export type SessionRowsJson = Static<typeof SESSION_ROWS>;

export const ENDED_SESSIONS = Type.Object({ ended: Type.Integer({ description: "how many sessions ended" }) });

export const CREDENTIAL_PACKAGES = Type.Object({
  total: Type.Integer({ description: "how many packages match" }),
  rows: Type.Array(
    Type.Object({
      package: text,
      author: Type.String({ description: "the login of its owner" }),
      targets: Type.Array(
        Type.Object({
          name: Type.String({ description: "the package, or package.connection: the name in `/credentials/for/{name}`" }),
          connection: nullable(text, { description: "null: the package itself" }),
          credentials: Type.Array(
            Type.Object({
              name: text,
              origin: oneOf(["package", "set"], { description: "`package`: its published files brought it; `set`: a user set it" }),
              updatedOn: date,
            }),
          ),
          containers: Type.Array(Type.Object({ id: text, name: text }), { description: "the containers that receive them" }),
        }),
      ),
    }),
  ),
});
export type CredentialPackagesJson = Static<typeof CREDENTIAL_PACKAGES>;

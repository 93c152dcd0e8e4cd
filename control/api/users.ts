import type { FastifyInstance } from "fastify";
import { LOGIN, type UserAccounts, type UserAccount, type UserAccountChange } from "../identity/open-users.ts";
import type { DevKey } from "../model/entities.ts";
import type { Authorization } from "./authorization.ts";
import { userToJson } from "./entity-json.ts";
import { responses, USER } from "./schemas.ts";

const text = { type: "string" } as const;
const date = { type: "string", format: "date-time" } as const;
const GROUP = { type: "string", pattern: LOGIN } as const;
const GROUPS = { type: "array", items: GROUP, maxItems: 100 } as const;
const NAME = { type: "string", minLength: 1, maxLength: 200 } as const;

const PERSON = {
  type: "object",
  properties: {
    ...USER.properties,
    groups: { ...GROUPS, description: "who shares one with a package's author may do what the author may" },
    keys: { type: "integer" },
  },
} as const;
const WISH = { friendlyName: NAME, admin: { type: "boolean" }, groups: GROUPS } as const;
const KEY = {
  type: "object",
  properties: {
    id: text,
    label: text,
    createdOn: date,
    fromSetting: { type: "boolean", description: "it is BERTH_ADMIN_KEY, or admin.key in the data folder" },
  },
} as const;
const MADE_KEY = { type: "object", properties: { ...KEY.properties, key: { type: "string", description: "shown this once" } } } as const;
const REMOVED = {
  type: "object",
  properties: { packages: { type: "array", items: text, description: "what the user had published, and is now yours" } },
} as const;
const LOGIN_PARAMS = { type: "object", properties: { login: text }, required: ["login"] } as const;
const KEY_PARAMS = { type: "object", properties: { login: text, id: text }, required: ["login", "id"] } as const;
const DONE = { type: "object", properties: { isSuccess: { type: "boolean" } } } as const;

type ByLogin = { Params: { login: string } };

/** Users, their groups and developer keys, for administrators; `berth users` is the same at a command line. */
export function peopleRoutes(app: FastifyInstance, { users }: { users: UserAccounts }, admission: Authorization): void {
  const tags = ["users"];
  const config = { admits: "admin" } as const;

  app.get("/users", { config, schema: { tags, summary: "Lists users", response: responses({ type: "array", items: PERSON }) } }, () =>
    users.all().map(personOnWire),
  );

  app.post<{ Body: { login: string } & UserAccountChange }>(
    "/users",
    {
      config,
      schema: {
        tags,
        summary: "Adds a user, who has no developer key yet",
        body: {
          type: "object",
          properties: { login: { type: "string", pattern: LOGIN }, ...WISH },
          required: ["login"],
          additionalProperties: false,
        },
        response: responses(PERSON),
      },
    },
    ({ body: { login, ...wish } }) => personOnWire(users.add(login, wish)),
  );

  app.patch<ByLogin & { Body: UserAccountChange }>(
    "/users/:login",
    {
      config,
      schema: {
        tags,
        summary: "Changes what is given; groups replace those before",
        params: LOGIN_PARAMS,
        body: { type: "object", properties: WISH, additionalProperties: false },
        response: responses(PERSON),
      },
    },
    ({ params, body }) => personOnWire(users.change(params.login, body)),
  );

  app.delete<ByLogin>(
    "/users/:login",
    {
      config,
      schema: {
        tags,
        summary: "Removes a user, whose keys and sessions end; packages go to the caller",
        params: LOGIN_PARAMS,
        response: responses(REMOVED),
      },
    },
    (request) => ({ packages: users.remove(request.params.login, { id: admission.caller(request).userId }) }),
  );

  app.get<ByLogin>(
    "/users/:login/keys",
    { config, schema: { tags, summary: "Lists a user's developer keys", params: LOGIN_PARAMS, response: responses({ type: "array", items: KEY }) } },
    ({ params }) => users.keys(params.login).map(keyOnWire),
  );

  app.post<ByLogin & { Body: { label?: string } }>(
    "/users/:login/keys",
    {
      config,
      schema: {
        tags,
        summary: "Makes a developer key",
        params: LOGIN_PARAMS,
        body: { type: "object", properties: { label: { type: "string", maxLength: 100 } }, additionalProperties: false },
        response: responses(MADE_KEY),
      },
    },
    ({ params, body }) => {
      const { key, kept } = users.addKey(params.login, body.label ?? "");
      return { ...keyOnWire(kept), key };
    },
  );

  app.delete<{ Params: { login: string; id: string } }>(
    "/users/:login/keys/:id",
    { config, schema: { tags, summary: "Revokes a developer key; sessions that it opened end", params: KEY_PARAMS, response: responses(DONE) } },
    ({ params }) => {
      users.revokeKey(params.login, params.id);
      return { isSuccess: true };
    },
  );
}

function personOnWire({ user, groups, keys }: UserAccount) {
  return { ...userToJson(user), groups, keys };
}

function keyOnWire({ id, label, createdOn, fromSetting }: DevKey) {
  return { id, label, createdOn: new Date(createdOn).toISOString(), fromSetting };
}

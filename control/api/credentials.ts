import { type FastifyInstance, type FastifyRequest } from "fastify";
import { Type } from "typebox";
import { parseBody } from "../../lib/parse-json.ts";
import { requireManage } from "../identity/rights.ts";
import { requireValues, type Values, VARIABLE } from "../packages/credentials/open-credentials.ts";
import type { Target } from "../packages/credentials/references.ts";
import { addRoutes, route, type Route, type RouteDeps } from "./route.ts";
import { count, mapOf, paramsOf, text } from "./schemas.ts";

/** `package`, `package.entity`, and a scope before either; the slash of the scope may be encoded or not. */
const PATHS = ["/credentials/for/:name", "/credentials/for/:scope/:name"] as const;
const LARGEST_BODY = 262_144;
const BODY = 'a JSON object of names and values, such as {"login":"…","password":"…"}';

const CREDENTIALS = Type.Object({
  "#type": text,
  name: Type.String({ description: "the package, or package.entity" }),
  parameters: mapOf(text, { description: "names; each value is ***" }),
  warnings: Type.Array(text),
});
const REMOVE_QUERY = Type.Object({
  name: Type.Optional(Type.Array(text, { description: "the names to remove; without it, all" })),
});

type CredentialsRequest = FastifyRequest<{ Params: Partial<Record<string, string>> }>;

/** Registered in a scope of their own: a body is JSON whatever its Content-Type, and no error about it may repeat its contents. */
export function addCredentialRoutes(app: FastifyInstance, deps: RouteDeps): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string", bodyLimit: LARGEST_BODY }, (_request, body, done) => done(null, body));
  addRoutes(app, credentialRoutes(deps));
}

function credentialRoutes({ store, credentials, vault, authorization }: RouteDeps): Route[] {
  const tags = ["credentials"];
  const nameOf = ({ params: { scope, name = "" } }: CredentialsRequest) => (scope === undefined ? name : `${scope}/${name}`);

  /** With a session or a developer key of the package's author, of a user in a group with the author, or of an administrator. */
  const find = async (request: CredentialsRequest): Promise<Target> => {
    const user = await authorization.developer(request, undefined);
    return credentials.find(nameOf(request), (owner) => requireManage(store, { userId: user.id, admin: user.admin }, owner.id));
  };
  const toJson = async (target: Target) => {
    const names = await credentials.names(target);
    const warnings =
      target.entity === ""
        ? names
            .filter((name) => !VARIABLE.test(name))
            .map((name) => `${name} is not the name of an environment variable: containers do not receive it.`)
        : [];
    return { "#type": "Credentials", name: target.name, parameters: Object.fromEntries(names.map((name) => [name, "***"])), warnings };
  };

  const routesOf = (path: string): Route[] => {
    const schema = { tags, params: paramsOf(path), response: CREDENTIALS };
    return [
      route({
        method: "GET",
        path,
        authorize: "handler",
        schema: { ...schema, summary: "Lists the names of the credentials of a package or a connection, without values" },
        handle: async (request) => toJson(await find(request)),
      }),
      route({
        method: "POST",
        path,
        authorize: "handler",
        audit: { action: "credentialsReplaced", target: nameOf },
        schema: { ...schema, summary: `Sets credentials and removes all others: ${BODY}` },
        handle: async (request) => {
          const target = await find(request);
          await credentials.replace(target, parseValues(request.body));
          return toJson(target);
        },
      }),
      route({
        method: "PATCH",
        path,
        authorize: "handler",
        audit: { action: "credentialsSet", target: nameOf },
        schema: { ...schema, summary: `Sets credentials and keeps all others: ${BODY}` },
        handle: async (request) => {
          const target = await find(request);
          await credentials.merge(target, parseValues(request.body));
          return toJson(target);
        },
      }),
      route({
        method: "DELETE",
        path,
        authorize: "handler",
        audit: { action: "credentialsRemoved", target: nameOf },
        schema: { ...schema, summary: "Removes credentials", querystring: REMOVE_QUERY },
        handle: async (request) => {
          const target = await find(request);
          await credentials.remove(target, request.query.name);
          return toJson(target);
        },
      }),
    ];
  };

  return [
    ...PATHS.flatMap(routesOf),
    route({
      method: "POST",
      path: "/credentials/rotate",
      authorize: "admin",
      audit: { action: "credentialsKeyRotated" },
      schema: {
        tags,
        summary: "Creates a key and seals all credentials with it",
        response: Type.Object({ keyId: text, resealed: count }),
      },
      handle: async () => vault.rotate(),
    }),
  ];
}

/** Faults: REQUEST_INVALID. */
function parseValues(body: unknown): Values {
  const values = parseBody(typeof body === "string" ? body : "");
  requireValues(values);
  return values;
}

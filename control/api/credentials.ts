import type { FastifyInstance, FastifyRequest } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { VARIABLE } from "../packages/credentials/open-credentials.ts";
import type { Target } from "../packages/credentials/target.ts";
import { requireValues, type Values } from "../packages/credentials/values.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { requireManage } from "../identity/rights.ts";
import { responses } from "./schemas.ts";

type CredentialsRequest = { Params: { scope?: string; name: string } };

/** `package`, `package.entity`, and a scope in front of either; the scope's slash may be encoded or not. */
const ADDRESSES = ["/credentials/for/:name", "/credentials/for/:scope/:name"] as const;
const LARGEST_BODY = 262_144;

const text = { type: "string" } as const;
const CREDENTIALS = {
  type: "object",
  properties: {
    "#type": text,
    name: { ...text, description: "the package, or package.entity" },
    parameters: { type: "object", additionalProperties: text, description: "names; each value is ***" },
    warnings: { type: "array", items: text },
  },
} as const;
const ROTATED = { type: "object", properties: { keyId: text, resealed: { type: "integer" } } } as const;
const REMOVE_QUERY = {
  type: "object",
  properties: { name: { type: "array", items: text, description: "only these; all where none is named" } },
} as const;

/** Registered apart: a body is JSON here whatever its Content-Type, and no error about it may repeat what stands in it. */
export function credentialRoutes(app: FastifyInstance, { store, credentials, vault }: ApiDeps, admission: Authorization): void {
  const tags = ["credentials"];
  const config = { admits: "itself" } as const;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string", bodyLimit: LARGEST_BODY }, (_request, body, done) => done(null, body));

  /** A session or a developer key of the package's author, of who shares a group with the author, or of an administrator. */
  const find = (request: FastifyRequest<CredentialsRequest>): Target => {
    const { scope, name } = request.params;
    const user = admission.developer(request, undefined);
    return credentials.find(scope === undefined ? name : `${scope}/${name}`, (owner) =>
      requireManage(store, { userId: user.id, admin: user.admin }, owner.id),
    );
  };
  const shown = (target: Target) => {
    const names = credentials.names(target);
    const warnings =
      target.entity === ""
        ? names.filter((name) => !VARIABLE.test(name)).map((name) => `${name} is no name of a variable: containers are not given it.`)
        : [];
    return { "#type": "Credentials", name: target.name, parameters: Object.fromEntries(names.map((name) => [name, "***"])), warnings };
  };

  for (const address of ADDRESSES) {
    const params = {
      type: "object",
      properties: Object.fromEntries(
        address
          .split("/:")
          .slice(1)
          .map((name) => [name, text]),
      ),
    };
    const route = (summary: string) => ({ config, schema: { tags, summary, params, response: responses(CREDENTIALS) } });
    const described = { description: 'a JSON object of names and values, such as {"login":"…","password":"…"}' };

    app.get<CredentialsRequest>(address, route("The names of a package's or a connection's credentials; no values"), (request) =>
      shown(find(request)),
    );

    app.post<CredentialsRequest>(address, { ...route(`Sets credentials, and removes all others: ${described.description}`) }, (request) => {
      const target = find(request);
      credentials.replace(target, readValues(request.body));
      return shown(target);
    });

    app.patch<CredentialsRequest>(address, { ...route(`Sets credentials beside those that there are: ${described.description}`) }, (request) => {
      const target = find(request);
      credentials.merge(target, readValues(request.body));
      return shown(target);
    });

    app.delete<CredentialsRequest & { Querystring: { name?: string[] } }>(
      address,
      { config, schema: { tags, summary: "Removes credentials", params, querystring: REMOVE_QUERY, response: responses(CREDENTIALS) } },
      (request) => {
        const target = find(request);
        credentials.remove(target, request.query.name);
        return shown(target);
      },
    );
  }

  app.post(
    "/credentials/rotate",
    { config: { admits: "admin" }, schema: { tags, summary: "Makes a new key and seals all credentials with it", response: responses(ROTATED) } },
    () => vault.rotate(),
  );
}

/** Faults: REQUEST_INVALID. */
function readValues(body: unknown): Values {
  let values: unknown;
  try {
    values = JSON.parse(typeof body === "string" ? body : "");
  } catch {
    throw new Fault("REQUEST_INVALID", "The body is not JSON.");
  }
  requireValues(values);
  return values;
}

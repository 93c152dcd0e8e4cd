import { Type } from "typebox";
import type { TrustedPublisher } from "../model/records.ts";
import { PUBLISHER_RIGHTS } from "../model/records.ts";
import { isoDate } from "./entities.ts";
import { webRootOf } from "./origins.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { DONE, mapOf, oneOf, text } from "./schemas.ts";
import { TRUSTED_PUBLISHER } from "./schemas-accounts.ts";

const LONGEST = 300;
const short = Type.String({ maxLength: LONGEST });

const NEW_PUBLISHER = Type.Object(
  {
    name: short,
    issuer: Type.String({ maxLength: LONGEST, description: "an https URL, exactly as `iss` in the tokens; its keys are discovered there" }),
    audience: Type.Optional(Type.String({ maxLength: LONGEST, description: "`aud` of the tokens; the default is the address of this server" })),
    claims: mapOf(short, { description: "what the tokens must have; `*` in a value matches any characters but `/`" }),
    login: Type.String({ maxLength: LONGEST, description: "the author of what the jobs publish" }),
    packages: Type.Array(short, { maxItems: 100 }),
    repositories: Type.Optional(
      Type.Array(short, { maxItems: 100, description: "the default is, for each package, datagrok/<package> and datagrok/<package>-*" }),
    ),
    rights: Type.Optional(Type.Array(oneOf(PUBLISHER_RIGHTS), { maxItems: 10, description: "the default is all three" })),
    lifetimeMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 60, default: 15, description: "of the tokens that jobs receive" })),
  },
  { additionalProperties: false },
);
const LIFETIME_MINUTES = 15;

/** CI jobs that publish without a stored key; `berth publishers` does the same at a command line. */
export function trustedPublisherRoutes({ identity, store, settings }: Pick<RouteDeps, "identity" | "store" | "settings">): Route[] {
  const tags = ["users"];
  const authorize = "admin" as const;
  const { publishers } = identity;
  const toJson = ({ userId, createdOn, ...publisher }: TrustedPublisher, logins: ReadonlyMap<string | undefined, string>) => ({
    ...publisher,
    login: logins.get(userId) ?? "",
    createdOn: isoDate(createdOn),
  });

  return [
    route({
      method: "GET",
      path: "/admin/trusted-publishers",
      authorize,
      schema: { tags, summary: "Lists trusted publishers: which CI jobs may publish what", response: Type.Array(TRUSTED_PUBLISHER) },
      handle: async () => {
        const all = await publishers.all();
        const logins = await store.users.logins(all.map(({ userId }) => userId));
        return all.map((publisher) => toJson(publisher, logins));
      },
    }),
    route({
      method: "POST",
      path: "/admin/trusted-publishers",
      authorize,
      audit: { action: "trustedPublisherAdded", target: ({ body: { name, issuer, claims } }) => `${name}: ${issuer} ${JSON.stringify(claims)}` },
      schema: { tags, summary: "Adds a trusted publisher", body: NEW_PUBLISHER, response: TRUSTED_PUBLISHER },
      handle: async (request) => {
        const {
          audience = new URL(webRootOf(settings, request)).origin,
          rights = [...PUBLISHER_RIGHTS],
          lifetimeMinutes = LIFETIME_MINUTES,
          ...given
        } = request.body;
        const added = await publishers.add({ ...given, audience, rights: [...new Set(rights)], lifetimeMinutes });
        return toJson(added, new Map([[added.userId, given.login]]));
      },
    }),
    route({
      method: "DELETE",
      path: "/admin/trusted-publishers/:name",
      authorize,
      audit: { action: "trustedPublisherRemoved", target: ({ params }) => params.name },
      schema: {
        tags,
        summary: "Removes a trusted publisher, and ends the tokens of its jobs",
        params: Type.Object({ name: text }),
        response: DONE,
      },
      handle: async ({ params: { name } }) => {
        await publishers.remove(name);
        return { isSuccess: true };
      },
    }),
  ];
}

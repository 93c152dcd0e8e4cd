import { Type } from "typebox";
import type { SigningKeyInfo } from "../identity/signing-keys.ts";
import { isoDate } from "./entity-json.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { date, DONE, nullable, text } from "./schemas.ts";

const KEY = Type.Object({
  kid: text,
  createdOn: date,
  signs: Type.Boolean(),
  publishedUntil: nullable(text, { description: "of a key that no longer signs" }),
});

/** The keys that sign docker tokens, for administrators; `berth keys` does the same at a command line. */
export function signingKeyRoutes({ signingKeys }: Pick<RouteDeps, "signingKeys">): Route[] {
  const tags = ["registry"];

  return [
    route({
      method: "GET",
      path: "/admin/keys",
      authorize: "admin",
      schema: { tags, summary: "Lists the published keys", response: Type.Array(KEY) },
      handle: async () => (await signingKeys.all()).map(keyToJson),
    }),
    route({
      method: "POST",
      path: "/admin/keys/rotate",
      authorize: "admin",
      audit: { action: "signingKeyRotated" },
      schema: {
        tags,
        summary: "Creates a key, which signs from now on; the previous one stays published for half an hour",
        response: Type.Object({ kid: text }),
      },
      handle: () => signingKeys.rotate(),
    }),
    route({
      method: "DELETE",
      path: "/admin/keys/:kid",
      authorize: "admin",
      audit: { action: "signingKeyRevoked", target: ({ params }) => params.kid },
      schema: { tags, summary: "Revokes a key: tokens that it signed become invalid", params: Type.Object({ kid: text }), response: DONE },
      handle: async ({ params }) => {
        await signingKeys.revoke(params.kid);
        return { isSuccess: true };
      },
    }),
  ];
}

function keyToJson({ kid, createdOn, retiredOn, publishedUntil }: SigningKeyInfo) {
  return {
    kid,
    createdOn: isoDate(createdOn),
    signs: retiredOn === undefined,
    publishedUntil: publishedUntil === undefined ? null : isoDate(publishedUntil),
  };
}

import type { FastifyInstance } from "fastify";
import type { SigningKeyInfo, SigningKeys } from "../identity/signing-keys.ts";
import { responses } from "./schemas.ts";

const text = { type: "string" } as const;
const date = { type: "string", format: "date-time" } as const;
const KEY = {
  type: "object",
  properties: {
    kid: text,
    createdOn: date,
    signs: { type: "boolean" },
    publishedUntil: { type: ["string", "null"], description: "of one that no longer signs" },
  },
} as const;
const MADE = { type: "object", properties: { kid: text } } as const;
const DONE = { type: "object", properties: { isSuccess: { type: "boolean" } } } as const;
const KID_PARAMS = { type: "object", properties: { kid: text }, required: ["kid"] } as const;

/** The keys that docker tokens are signed with, for administrators; `berth keys` is the same at a command line. */
export function signingKeyRoutes(app: FastifyInstance, { signingKeys }: { signingKeys: SigningKeys }): void {
  const tags = ["registry"];
  const config = { admits: "admin" } as const;

  app.get("/admin/keys", { config, schema: { tags, summary: "Lists the published keys", response: responses({ type: "array", items: KEY }) } }, () =>
    signingKeys.all().map(onWire),
  );

  app.post(
    "/admin/keys/rotate",
    {
      config,
      schema: {
        tags,
        summary: "Makes a new key, which signs from now on; the one before stays published for half an hour",
        response: responses(MADE),
      },
    },
    () => signingKeys.rotate(),
  );

  app.delete<{ Params: { kid: string } }>(
    "/admin/keys/:kid",
    { config, schema: { tags, summary: "Revokes a key: tokens that it signed are no longer good", params: KID_PARAMS, response: responses(DONE) } },
    ({ params }) => {
      signingKeys.revoke(params.kid);
      return { isSuccess: true };
    },
  );
}

function onWire({ kid, createdOn, retiredOn, publishedUntil }: SigningKeyInfo) {
  return {
    kid,
    createdOn: new Date(createdOn).toISOString(),
    signs: retiredOn === undefined,
    publishedUntil: publishedUntil === undefined ? null : new Date(publishedUntil).toISOString(),
  };
}

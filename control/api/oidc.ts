import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { OidcSession, OidcSignIn } from "../identity/oidc-sign-in.ts";
import { clientAddress } from "./authorization.ts";
import { isoDate } from "./entities.ts";
import { route, type Route, type RouteDeps, type RouteRequest, type RouteSchema } from "./route.ts";
import { date, text } from "./schemas.ts";

const PROVIDER = Type.Object({ name: Type.String({ description: "what users know the provider by" }) });
const DEVICE = Type.Object({
  handle: Type.String({ description: "names this sign-in in the requests that finish it; secret" }),
  userCode: Type.String({ description: "what the user enters at the address" }),
  url: text,
  completeUrl: Type.Optional(Type.String({ description: "the address with the code in it" })),
  expiresSeconds: Type.Number(),
  intervalSeconds: Type.Number({ description: "how long the client waits between requests" }),
});
const DEVICE_RESULT = Type.Object({
  isPending: Type.Boolean({ description: "the user has not finished at the provider: ask again" }),
  token: Type.Optional(Type.String({ description: "of a session with administration, if the user is an administrator" })),
  login: Type.Optional(text),
  expiresOn: Type.Optional(date),
});
/** Longer than any handle: a device code of some providers is a JWT. */
const LONGEST_HANDLE = 16_384;

type OidcRouteDeps = Pick<RouteDeps, "oidc" | "authorization" | "auditRecorder">;

/** The sign-in provider for command lines, which need no client id of their own. */
export function oidcRoutes({ oidc, authorization, auditRecorder }: OidcRouteDeps): Route[] {
  const tags = ["users"];
  return [
    route({
      method: "GET",
      path: "/users/login/oidc",
      authorize: "anyone",
      schema: { tags, summary: "Returns the provider at which users sign in", response: PROVIDER },
      handle: async () => ({ name: requireProvider(oidc).name }),
    }),
    route({
      method: "POST",
      path: "/users/login/device",
      authorize: "anyone",
      // No user is signed in yet.
      audit: "none",
      uncompressed: true,
      schema: { tags, summary: "Begins the sign-in of a command line at the provider (RFC 8628)", response: DEVICE },
      handle: async (request) => {
        const { expiresMs, intervalMs, completeUrl, ...begun } = await requireProvider(oidc).beginDevice(clientAddress(request));
        return {
          ...begun,
          ...(completeUrl === undefined ? {} : { completeUrl }),
          expiresSeconds: expiresMs / 1_000,
          intervalSeconds: intervalMs / 1_000,
        };
      },
    }),
    route({
      method: "POST",
      path: "/users/login/device/token",
      authorize: "anyone",
      audit: "none",
      uncompressed: true,
      schema: {
        tags,
        summary: "Returns the token of a session when the user has finished at the provider",
        body: Type.Object({ handle: Type.String({ maxLength: LONGEST_HANDLE }) }, { additionalProperties: false }),
        response: DEVICE_RESULT,
      },
      handle: async (request) => {
        const session = await requireProvider(oidc).finishDevice(request.body.handle, clientAddress(request));
        if (session === undefined) return { isPending: true };
        await recordOidcSignIn({ authorization, auditRecorder }, request, session);
        return { isPending: false, token: session.token, login: session.user.login, expiresOn: isoDate(session.expiresOn) };
      },
    }),
  ];
}

/** Faults: NOT_PROVIDED. */
export function requireProvider(oidc: OidcSignIn | undefined): OidcSignIn {
  if (oidc) return oidc;
  throw new Fault("NOT_PROVIDED", "This server has no sign-in provider (BERTH_OIDC_ISSUER): sign in with a developer key.");
}

/** The audit log records the user, although no credential of the request names the user. */
export async function recordOidcSignIn(
  { authorization, auditRecorder }: Pick<RouteDeps, "authorization" | "auditRecorder">,
  request: RouteRequest<RouteSchema>,
  { user, changes }: OidcSession,
): Promise<void> {
  authorization.recordSignIn(request, { userId: user.id, login: user.login, by: "oidc" });
  const entry = { target: user.login, status: 200, requestId: request.id };
  for (const { action, detail } of changes) await auditRecorder.append(request, { ...entry, action, target: `${user.login}: ${detail}` });
  await auditRecorder.append(request, { ...entry, action: "signedIn" });
}

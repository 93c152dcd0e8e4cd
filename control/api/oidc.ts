import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { OidcSession, OidcSignIn } from "../identity/oidc-sign-in.ts";
import { clientAddress } from "./authorization.ts";
import { isoDate } from "./entities.ts";
import { route, type Route, type RouteDeps, type RouteRequest, type RouteSchema } from "./route.ts";
import { date, text } from "./schemas.ts";

const PROVIDER_NAME = Type.String({ description: "what users know the provider by" });
const PROVIDERS = Type.Object({
  name: PROVIDER_NAME,
  providers: Type.Array(Type.Object({ id: text, name: PROVIDER_NAME }), { description: "all providers; the first one is meant where none is named" }),
});
/** As `id` of the providers. */
export const PROVIDER_ID = Type.String({ maxLength: 40, description: "the id of the sign-in provider; without it, the first one" });
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
      schema: { tags, summary: "Returns the providers at which users sign in", response: PROVIDERS },
      handle: async () => ({ name: requireProvider(oidc).name, providers: (oidc ?? []).map(({ id, name }) => ({ id, name })) }),
    }),
    route({
      method: "POST",
      path: "/users/login/device",
      authorize: "anyone",
      // No user is signed in yet.
      audit: "none",
      uncompressed: true,
      schema: {
        tags,
        summary: "Begins the sign-in of a command line at a provider (RFC 8628)",
        querystring: Type.Object({ provider: Type.Optional(PROVIDER_ID) }),
        response: DEVICE,
      },
      handle: async (request) => {
        const { expiresMs, intervalMs, completeUrl, ...begun } = await requireProvider(oidc, request.query.provider).beginDevice(
          clientAddress(request),
        );
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
        const session = await providerOfSealed(oidc, request.body.handle).finishDevice(request.body.handle, clientAddress(request));
        if (session === undefined) return { isPending: true };
        await recordOidcSignIn({ authorization, auditRecorder }, request, session);
        return { isPending: false, token: session.token, login: session.user.login, expiresOn: isoDate(session.expiresOn) };
      },
    }),
  ];
}

/** The provider with this id; undefined: the first one. Faults: NOT_PROVIDED, PROVIDER_NOT_FOUND. */
export function requireProvider(oidc: readonly OidcSignIn[] | undefined, id?: string): OidcSignIn {
  const [first] = oidc ?? [];
  if (!first) throw new Fault("NOT_PROVIDED", "This server has no sign-in provider (BERTH_OIDC_ISSUER): sign in with a developer key.");
  const named = id === undefined ? first : oidc?.find((one) => one.id === id);
  if (named) return named;
  const all = (oidc ?? []).map((one) => `${one.id} (${one.name})`).join(", ");
  throw new Fault("PROVIDER_NOT_FOUND", `There is no sign-in provider ${JSON.stringify(id?.slice(0, 40))} here. The providers are: ${all}.`);
}

/** The provider at which a sign-in was begun. What is sealed begins with its id, and opens with no other. Faults: NOT_PROVIDED, SIGN_IN_FAILED. */
export function providerOfSealed(oidc: readonly OidcSignIn[] | undefined, sealed: string): OidcSignIn {
  requireProvider(oidc);
  const provider = oidc?.find(({ id }) => sealed.startsWith(`${id}.`));
  if (provider) return provider;
  throw new Fault("SIGN_IN_FAILED", "The sign-in was not begun here, or its provider was removed from the settings. Sign in again.");
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

import type * as OpenidClient from "openid-client";
import type { ClientAuth, Configuration, CustomFetch } from "openid-client";
import type { FetchImplementation, JWTVerifyGetKey } from "jose";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpClient, openHttpClient } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import { openRefreshingValue } from "../../lib/refreshing-value.ts";
import { ISSUER_ALGORITHMS } from "./issuer-keys.ts";

/** The id of the provider of the settings `BERTH_OIDC_*`. Further ones have ids of their own. */
export const DEFAULT_PROVIDER = "default";

/** The name of the setting that holds a field of a provider, for messages to administrators. */
export type ProviderSettingName = (field: "issuer" | "name" | "clientId" | "clientSecret" | "scopes" | "loginClaim" | "allowedGroups") => string;

export type OidcClientSettings = {
  id: string;
  issuer: string;
  /** What users know the provider by. */
  name: string;
  clientId: string;
  /** Undefined: a public client. */
  clientSecret: string | undefined;
  settingOf: ProviderSettingName;
  scopes: readonly string[];
  /** Claims that berth needs. If the ID token lacks one, berth requests the user info. */
  claims: readonly string[];
  /** Whether users who sign out of berth sign out at the provider too. */
  signsOut: boolean;
};

/** What the provider states about a user, verified. */
export type OidcUserClaims = {
  issuer: string;
  subject: string;
  claims: Readonly<Record<string, unknown>>;
  /** The provider's name of its own session. */
  sid?: string | undefined;
  /** For the sign-out at the provider; undefined: it has none, or the settings refuse it. Secret. */
  idToken?: string | undefined;
};

/** A begun sign-in of a browser. All but `url` is secret, and needed to finish it. */
export type OidcCodeRequest = { url: string; state: string; nonce: string; verifier: string; redirectUri: string };

/** A begun sign-in of a device (RFC 8628). `deviceCode` is secret. */
export type OidcDeviceRequest = {
  deviceCode: string;
  userCode: string;
  url: string;
  /** With the code in it; undefined: the provider has no such address. */
  completeUrl: string | undefined;
  expiresMs: number;
  intervalMs: number;
};

/** The sign-in provider. Faults of all: SIGN_IN_PROVIDER_AWAY. */
export type OidcProvider = Pick<OidcClientSettings, "id" | "name" | "issuer" | "settingOf"> & {
  beginCode(redirectUri: string): Promise<OidcCodeRequest>;
  /** `search`: the query of the address that the provider sent the browser back to. Faults: SIGN_IN_FAILED. */
  finishCode(request: Omit<OidcCodeRequest, "url">, search: string): Promise<OidcUserClaims>;
  /** Faults: SIGN_IN_FAILED, NOT_PROVIDED if the provider has no sign-in of devices. */
  beginDevice(): Promise<OidcDeviceRequest>;
  /** `pending`: the user has not finished yet; `slow_down`: nor should berth ask so often. Faults: SIGN_IN_FAILED. */
  finishDevice(deviceCode: string): Promise<OidcUserClaims | "pending" | "slow_down">;
  /**
   * Where a browser ends the provider's session, from where it is sent back to `redirectUri` with `state` (RP-Initiated Logout 1.0). Undefined: the provider
   * has no such address. Without `idToken`, the provider asks its user.
   */
  signOutUrl(idToken: string | undefined, redirectUri: string): Promise<{ url: string; state: string } | undefined>;
  /** Verifies what the provider reports about an ended session (Back-Channel Logout 1.0). Faults: REQUEST_INVALID if the token proves nothing. */
  verifyLogoutToken(token: string): Promise<EndedProviderSession>;
  /** What the provider's document offers. Loads it. */
  features(): Promise<{ device: boolean; signOut: boolean }>;
  close(): void;
};

/** `subject` alone: all sessions of that user. `id`: of the report, which counts until `until` (epoch ms). */
export type EndedProviderSession = { sid: string | undefined; subject: string | undefined; id: string; until: number };

/** For one response, from the call to its last byte. */
const RESPONSE_MS = 10_000;
/** The libraries' own limit: it must come after berth's, since its error would count as a failure of the user. */
const LIBRARY_MS = 2 * RESPONSE_MS;
/** Documents and key sets of known providers have 2 to 20 KiB. */
const MOST_BYTES = 262_144;
/** How long the provider's document and keys are used before they are loaded again. An unknown key is looked for earlier. */
const FRESH_MS = 3_600_000;
const RETRY = { firstMs: 2_000, longestMs: 30_000 };
/** Clocks may differ by this much. */
const TOLERANCE_SECONDS = 60;
const DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";
/** RFC 8628 §3.2: the interval without one in the response. */
const DEFAULT_INTERVAL_SECONDS = 5;
const MOST_DEVICE_SECONDS = 1_800;
const LONGEST_DETAIL = 200;
/** A report of an ended session counts for so long after it was issued. */
const LOGOUT_TOKEN_SECONDS = 300;
const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
const LONGEST_SID = 255;
/** It is a part of an address at the sign-out. Servers refuse addresses that are longer than 8 KiB. */
const LONGEST_ID_TOKEN = 6_000;

export function openOidcProvider(settings: OidcClientSettings, { clock, log }: { clock: Clock; log: Log }): OidcProvider {
  const { id, name, issuer, settingOf } = settings;
  const http = openHttpClient({
    clock,
    maxBytes: MOST_BYTES,
    timeoutMs: RESPONSE_MS,
    toFault: ({ kind, why, cause }) => away(kind === "unreachable" ? `it cannot be reached, ${why}` : why, cause),
  });
  const away = (why: string, cause?: unknown) =>
    new Fault("SIGN_IN_PROVIDER_AWAY", `Sign-in with ${name} does not work at the moment (${why}). Developer keys work as before.`, { cause });

  const configuration = openRefreshingValue<{ oidc: typeof OpenidClient; config: Configuration; keys: JWTVerifyGetKey | undefined }>({
    load: async () => {
      const oidc = await import("openid-client");
      try {
        const config = await discover(oidc, settings, http, away);
        return { value: { oidc, config, keys: await publishedKeys(config, http, away) }, freshMs: FRESH_MS };
      } catch (error) {
        throw faultOf(error) ?? away(detailOf(error), error);
      }
    },
    clock,
    retry: RETRY,
    onFailed: (error) => log.warn({ issuer, reason: detailOf(error) }, "sign-in provider is away"),
  });

  /** Translates what goes wrong in one call of the provider. */
  const call = async <T>(work: (oidc: typeof OpenidClient, config: Configuration) => Promise<T>): Promise<T> => {
    const { oidc, config } = await configuration.get();
    try {
      return await work(oidc, config);
    } catch (error) {
      const fault = faultOf(error);
      if (fault) throw fault;
      log.warn({ issuer, reason: detailOf(error) }, "sign-in failed");
      throw signInFault(oidc, settings, error);
    }
  };

  /** The claims of a response whose ID token is verified. */
  const claimsOf = async (
    oidc: typeof OpenidClient,
    config: Configuration,
    response: OpenidClient.TokenEndpointResponse & OpenidClient.TokenEndpointResponseHelpers,
  ): Promise<OidcUserClaims> => {
    const token = response.claims();
    if (token === undefined) throw failed(name, `the provider sent no ID token. Add the scope openid to ${settingOf("scopes")}`);
    const isComplete = settings.claims.every((claim) => token[claim] !== undefined);
    const hasUserInfo = config.serverMetadata().userinfo_endpoint !== undefined;
    const more = isComplete || !hasUserInfo ? {} : await oidc.fetchUserInfo(config, response.access_token, token.sub);
    const { sid } = token;
    const idToken = settings.signsOut && config.serverMetadata().end_session_endpoint !== undefined ? response.id_token : undefined;
    return {
      issuer: token.iss,
      subject: token.sub,
      claims: { ...more, ...token },
      sid: typeof sid === "string" && sid.length <= LONGEST_SID ? sid : undefined,
      idToken: idToken !== undefined && idToken.length <= LONGEST_ID_TOKEN ? idToken : undefined,
    };
  };

  return {
    id,
    name,
    issuer,
    settingOf,
    beginCode: (redirectUri) =>
      call(async (oidc, config) => {
        const secrets = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() };
        const url = oidc.buildAuthorizationUrl(config, {
          redirect_uri: redirectUri,
          scope: settings.scopes.join(" "),
          state: secrets.state,
          nonce: secrets.nonce,
          code_challenge: await oidc.calculatePKCECodeChallenge(secrets.verifier),
          code_challenge_method: "S256",
        });
        return { ...secrets, url: url.href, redirectUri };
      }),
    finishCode: ({ state, nonce, verifier, redirectUri }, search) =>
      call(async (oidc, config) => {
        const address = new URL(redirectUri);
        address.search = search;
        const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
        return claimsOf(oidc, config, await oidc.authorizationCodeGrant(config, address, checks));
      }),
    beginDevice: () =>
      call(async (oidc, config) => {
        if (config.serverMetadata().device_authorization_endpoint === undefined)
          throw new Fault(
            "NOT_PROVIDED",
            `${name} has no sign-in for command lines (RFC 8628). Sign in with a developer key: the console's Profile page creates one.`,
          );
        const begun = await oidc.initiateDeviceAuthorization(config, { scope: settings.scopes.join(" ") });
        return {
          deviceCode: begun.device_code,
          userCode: begun.user_code,
          url: webAddress(name, begun.verification_uri),
          completeUrl: begun.verification_uri_complete === undefined ? undefined : webAddress(name, begun.verification_uri_complete),
          expiresMs: Math.min(begun.expires_in, MOST_DEVICE_SECONDS) * 1_000,
          intervalMs: (begun.interval ?? DEFAULT_INTERVAL_SECONDS) * 1_000,
        };
      }),
    finishDevice: (deviceCode) =>
      call(async (oidc, config) => {
        const response = await oidc.genericGrantRequest(config, DEVICE_GRANT, { device_code: deviceCode }).catch((error: unknown) => {
          const { error: code } = error instanceof oidc.ResponseBodyError ? error : {};
          if (code === "authorization_pending") return "pending" as const;
          if (code === "slow_down") return "slow_down" as const;
          throw error;
        });
        return typeof response === "string" ? response : claimsOf(oidc, config, response);
      }),
    signOutUrl: (idToken, redirectUri) =>
      call(async (oidc, config) => {
        const { end_session_endpoint: endpoint } = config.serverMetadata();
        if (!settings.signsOut || endpoint === undefined || !isWebAddress(endpoint)) return undefined;
        const state = oidc.randomState();
        const hint = idToken === undefined ? {} : { id_token_hint: idToken };
        return { url: oidc.buildEndSessionUrl(config, { ...hint, post_logout_redirect_uri: redirectUri, state }).href, state };
      }),
    verifyLogoutToken: async (token) => {
      const { config, keys } = await configuration.get();
      if (keys === undefined) throw untrusted("the provider publishes no keys");
      const { jwtVerify } = await import("jose");
      const { payload, protectedHeader } = await jwtVerify(token, keys, {
        algorithms: ISSUER_ALGORITHMS,
        issuer: config.serverMetadata().issuer,
        audience: settings.clientId,
        requiredClaims: ["iat", "jti"],
        maxTokenAge: LOGOUT_TOKEN_SECONDS,
        clockTolerance: TOLERANCE_SECONDS,
        currentDate: new Date(clock.now()),
      }).catch((error: unknown) => {
        throw faultOf(error) ?? untrusted(detailOf(error), error);
      });
      // An ID token is no report: it has a nonce and no such event.
      const { events, nonce, sid, sub, jti = "", iat = 0 } = payload;
      const event = typeof events === "object" && events !== null ? (events as Record<string, unknown>)[LOGOUT_EVENT] : undefined;
      const isReport = typeof event === "object" && event !== null && nonce === undefined;
      if (!isReport || !["jwt", "logout+jwt"].includes(protectedHeader.typ?.toLowerCase() ?? "jwt")) throw untrusted("it is no report of a sign-out");
      if (typeof sid !== "string" && typeof sub !== "string") throw untrusted("it names neither a session nor a subject");
      const until = (iat + LOGOUT_TOKEN_SECONDS + TOLERANCE_SECONDS) * 1_000;
      return { sid: typeof sid === "string" ? sid : undefined, subject: sub, id: jti.slice(0, LONGEST_SID), until };
    },
    features: async () => {
      const { device_authorization_endpoint: device, end_session_endpoint: end } = (await configuration.get()).config.serverMetadata();
      return { device: device !== undefined, signOut: settings.signsOut && end !== undefined };
    },
    close: () => {
      configuration.close(new Error("berth ends"));
      http.close();
    },
  };
}

function untrusted(why: string, cause?: unknown): Fault {
  return new Fault("REQUEST_INVALID", `The logout token is not valid: ${why}.`, { cause });
}

/** The provider's keys, which are loaded when they are needed, and again for the id of an unknown key. */
async function publishedKeys(config: Configuration, http: HttpClient, away: (why: string) => Fault): Promise<JWTVerifyGetKey | undefined> {
  const { jwks_uri: address } = config.serverMetadata();
  if (address === undefined || !isWebAddress(address)) return undefined;
  const { createRemoteJWKSet, customFetch } = await import("jose");
  const request = boundedFetch(http, away);
  const load: FetchImplementation = (url, { headers, signal }) =>
    request(url, { method: "GET", headers: Object.fromEntries(headers), body: undefined, redirect: "manual", signal });
  return createRemoteJWKSet(new URL(address), {
    cacheMaxAge: FRESH_MS,
    timeoutDuration: LIBRARY_MS,
    [customFetch]: load,
  });
}

async function discover(
  oidc: typeof OpenidClient,
  { issuer, clientId, clientSecret }: OidcClientSettings,
  http: HttpClient,
  away: (why: string) => Fault,
): Promise<Configuration> {
  const authentication: ClientAuth = (server, client, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"];
    const method =
      clientSecret === undefined
        ? oidc.None()
        : methods.includes("client_secret_basic")
          ? oidc.ClientSecretBasic(clientSecret)
          : oidc.ClientSecretPost(clientSecret);
    method(server, client, body, headers);
  };
  const config = await oidc.discovery(new URL(issuer), clientId, { [oidc.clockTolerance]: TOLERANCE_SECONDS }, authentication, {
    // Also where the token came straight from the provider: a server in between, or in its place, cannot sign.
    execute: [oidc.enableNonRepudiationChecks, ...(new URL(issuer).protocol === "http:" ? [oidc.allowInsecureRequests] : [])],
    timeout: LIBRARY_MS / 1_000,
    [oidc.customFetch]: boundedFetch(http, away),
  });
  return config;
}

/** A fetch that follows no redirect, and ends a response that is too slow or too large. */
function boundedFetch(http: HttpClient, away: (why: string) => Fault): CustomFetch {
  return async (url, { method, headers, body, signal }) => {
    const text = body instanceof URLSearchParams ? body.toString() : body;
    if (text !== undefined && text !== null && typeof text !== "string" && !(text instanceof Uint8Array)) throw new TypeError("The body is no text.");
    const reply = await http.request({ url, method, headers, body: text ?? undefined, signal });
    if (reply.status >= 500 || reply.status === 429) throw away(`it answered ${reply.status}`);
    const lines = Object.entries(reply.headers).flatMap(([name, value]) => [value ?? []].flat().map((one): [string, string] => [name, one]));
    // A Response with such a status must not have a body.
    const isEmpty = reply.status === 204 || reply.status === 205 || reply.status === 304;
    return new Response(isEmpty ? null : new Uint8Array(reply.body), { status: reply.status, headers: lines });
  };
}

/** The fault that a library wrapped. */
function faultOf(error: unknown): Fault | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) if (cause instanceof Fault) return cause;
  return undefined;
}

/** The errors of the library have no tokens and no secrets in their messages. */
function detailOf(error: unknown): string {
  const { message, cause } = error instanceof Error ? error : { message: String(error), cause: undefined };
  return printable(cause instanceof Error && cause.message !== message ? `${message}: ${cause.message}` : message);
}

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, LONGEST_DETAIL);
}

function failed(name: string, why: string, cause?: unknown): Fault {
  return new Fault("SIGN_IN_FAILED", `The sign-in with ${name} failed: ${why}.`, { cause });
}

function signInFault(
  { ResponseBodyError, AuthorizationResponseError, WWWAuthenticateChallengeError }: typeof OpenidClient,
  { name, settingOf }: OidcClientSettings,
  error: unknown,
): Fault {
  if (error instanceof AuthorizationResponseError)
    return failed(name, `it answered ${described(error.error, error.error_description)}. Sign in again`, error);
  if (error instanceof WWWAuthenticateChallengeError || (error instanceof ResponseBodyError && error.error === "invalid_client"))
    return failed(
      name,
      `it does not accept berth's client id and secret. An administrator compares ${settingOf("clientId")} and ${settingOf("clientSecret")} with the provider`,
      error,
    );
  if (error instanceof ResponseBodyError) {
    if (error.error === "invalid_grant" || error.error === "expired_token")
      return failed(name, "it has expired, or was finished before. Sign in again", error);
    return failed(name, `it answered ${described(error.error, error.error_description)}`, error);
  }
  return failed(name, `${detailOf(error)}. Sign in again`, error);
}

function described(code: string, description: string | undefined): string {
  return printable(description === undefined ? code : `${code}, ${description}`);
}

function isWebAddress(address: string): boolean {
  return /^https?:$/.test(URL.parse(address)?.protocol ?? "");
}

/** It is shown to users, and opened in their browsers. */
function webAddress(name: string, address: string): string {
  const url = URL.parse(address);
  if (url === null || !isWebAddress(address)) throw failed(name, "the provider's address for command lines is no web address");
  return url.href;
}

import type { Fault, FaultCode } from "../../lib/fault.ts";
import { internalFault, sentence } from "../direct-responses.ts";
import type { DirectResponse, HeaderLine } from "../decision.ts";
import type { RegistryAction } from "../../lib/registry-client/registry-client.ts";

/** What clients test for to know that a registry answers. */
const VERSION_LINE: HeaderLine = ["Docker-Distribution-Api-Version", "registry/2.0"];

/** The distribution specification's code for a fault; clients print it before the sentence. */
const CODES: Partial<Record<FaultCode, string>> = {
  TOKEN_MISSING: "UNAUTHORIZED",
  TOKEN_INVALID: "UNAUTHORIZED",
  DEV_KEY_INVALID: "UNAUTHORIZED",
  SCOPE_INSUFFICIENT: "DENIED",
  NOT_PERMITTED: "DENIED",
  REGISTRY_REFUSED: "DENIED",
  TOO_MANY_ATTEMPTS: "TOOMANYREQUESTS",
  ROUTE_NOT_FOUND: "NAME_INVALID",
  REPOSITORY_NOT_MADE: "NAME_UNKNOWN",
  METHOD_NOT_ALLOWED: "UNSUPPORTED",
  REQUEST_INVALID: "UNSUPPORTED",
  HEAD_TOO_LARGE: "UNSUPPORTED",
  TARGET_TOO_LONG: "UNSUPPORTED",
  METHOD_UNKNOWN: "UNSUPPORTED",
  VERSION_UNSUPPORTED: "UNSUPPORTED",
  INTERNAL: "UNKNOWN",
};

/** A failure as clients of a registry read it: they show the code and the sentence to who sits at the terminal. */
export function registryAnswer(fault: Fault, more: readonly HeaderLine[] = []): DirectResponse {
  const retry: HeaderLine[] = fault.retryAfterMs === undefined ? [] : [["Retry-After", String(Math.max(1, Math.ceil(fault.retryAfterMs / 1_000)))]];
  const body = { errors: [{ code: CODES[fault.code] ?? "UNAVAILABLE", message: sentence(fault), detail: null }] };
  return { status: fault.status, reason: fault.reason, ...json(body, [...retry, ...more]) };
}

/** A failure that nobody foresaw. */
export function internalAnswer(cause: unknown): DirectResponse {
  return registryAnswer(internalFault(cause));
}

export function jsonAnswer(body: object): DirectResponse {
  return { status: 200, reason: "OK", ...json(body) };
}

function json(value: object, more: readonly HeaderLine[] = []): Pick<DirectResponse, "headers" | "body"> {
  const body = JSON.stringify(value);
  const headers: HeaderLine[] = [
    ["Content-Type", "application/json"],
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Cache-Control", "no-store"],
    VERSION_LINE,
    ...more,
  ];
  return { headers, body };
}

/** What a request needs of the token with it: these actions on each of these repositories; or, of none, any token at all. */
export type RequiredAccess = { repository: string; actions: readonly RegistryAction[] };

/** What a client is told of why its token does not do, so that it asks for another one. */
const ERRORS: Partial<Record<FaultCode, string>> = { TOKEN_INVALID: "invalid_token", SCOPE_INSUFFICIENT: "insufficient_scope" };

/** As clients ask for it at the realm: `repository:x:pull,push`. */
export function scopeOf({ repository, actions }: RequiredAccess): string {
  return `repository:${repository}:${actions.join(",")}`;
}

export const CATALOG_SCOPE = "registry:catalog:*";

/** 401 with where a token can be had: `seen` is the proxy's own address as the client sees it. */
export function challenge(fault: Fault, at: { seen: string; service: string; scope: string }): DirectResponse {
  const error = ERRORS[fault.code];
  const words = [
    `realm="${at.seen}/token"`,
    `service="${at.service}"`,
    ...(at.scope === "" ? [] : [`scope="${at.scope}"`]),
    ...(error === undefined ? [] : [`error="${error}"`]),
  ];
  return registryAnswer(fault, [["WWW-Authenticate", `Bearer ${words.join(",")}`]]);
}

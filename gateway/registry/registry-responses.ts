import { Fault, type FaultCode } from "../../lib/fault.ts";
import { internalFault, sentence } from "../direct-responses.ts";
import type { DirectResponse, HeaderLine } from "../decision.ts";
import type { RegistryAction } from "../../lib/registry-client/registry-client.ts";

/** Clients recognize a registry by this header. */
const VERSION_LINE: HeaderLine = ["Docker-Distribution-Api-Version", "registry/2.0"];

/** The distribution specification's code for a fault; clients print it before the sentence. */
const CODES: Partial<Record<FaultCode, string>> = {
  TOKEN_MISSING: "UNAUTHORIZED",
  TOKEN_INVALID: "UNAUTHORIZED",
  DEV_KEY_INVALID: "UNAUTHORIZED",
  SCOPE_INSUFFICIENT: "DENIED",
  NOT_PERMITTED: "DENIED",
  PUSH_REFUSED: "DENIED",
  REGISTRY_REFUSED: "DENIED",
  TOO_MANY_ATTEMPTS: "TOOMANYREQUESTS",
  UPSTREAM_RATE_LIMITED: "TOOMANYREQUESTS",
  STORED_IMAGE_NOT_FOUND: "MANIFEST_UNKNOWN",
  ROUTE_NOT_FOUND: "NAME_INVALID",
  REPOSITORY_NOT_MADE: "NAME_UNKNOWN",
  METHOD_NOT_ALLOWED: "UNSUPPORTED",
  REQUEST_INVALID: "UNSUPPORTED",
  HEAD_TOO_LARGE: "UNSUPPORTED",
  TARGET_TOO_LONG: "UNSUPPORTED",
  METHOD_UNKNOWN: "UNSUPPORTED",
  VERSION_UNSUPPORTED: "UNSUPPORTED",
  BODY_TOO_LARGE: "MANIFEST_INVALID",
  INTERNAL: "UNKNOWN",
};

/** The answer lists the methods that the path has (RFC 9110 §15.5.6). */
export class MethodNotAllowed extends Fault {
  readonly allowed: readonly string[];

  constructor(message: string, allowed: readonly string[]) {
    super("METHOD_NOT_ALLOWED", message);
    this.allowed = allowed;
  }
}

/** A failure in the registry's format: clients show the code and the sentence to the user. */
export function registryAnswer(fault: Fault, more: readonly HeaderLine[] = []): DirectResponse {
  const retry: HeaderLine[] = fault.retryAfterMs === undefined ? [] : [["Retry-After", String(Math.max(1, Math.ceil(fault.retryAfterMs / 1_000)))]];
  const allow: HeaderLine[] = fault instanceof MethodNotAllowed ? [["Allow", fault.allowed.join(", ")]] : [];
  const body = { errors: [{ code: CODES[fault.code] ?? "UNAVAILABLE", message: sentence(fault), detail: null }] };
  return { status: fault.status, reason: fault.reason, ...json(body, [...retry, ...allow, ...more]) };
}

/** A bug. */
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

/** Actions on a repository that a token has to allow. */
export type RequiredAccess = { repository: string; actions: readonly RegistryAction[] };

/** Why a token is not accepted (RFC 6750 §3.1): the client then requests another one. */
const ERRORS: Partial<Record<FaultCode, string>> = { TOKEN_INVALID: "invalid_token", SCOPE_INSUFFICIENT: "insufficient_scope" };

/** The scope that clients request: `repository:x:pull,push`. */
export function scopeOf({ repository, actions }: RequiredAccess): string {
  return `repository:${repository}:${actions.join(",")}`;
}

export const CATALOG_SCOPE = "registry:catalog:*";

/** 401 with the token server. `publicOrigin` is the proxy's address for the client. */
export function challenge(fault: Fault, at: { publicOrigin: string; service: string; scope: string }): DirectResponse {
  const error = ERRORS[fault.code];
  const parameters = [
    `realm="${at.publicOrigin}/token"`,
    `service="${at.service}"`,
    ...(at.scope === "" ? [] : [`scope="${at.scope}"`]),
    ...(error === undefined ? [] : [`error="${error}"`]),
  ];
  return registryAnswer(fault, [["WWW-Authenticate", `Bearer ${parameters.join(",")}`]]);
}

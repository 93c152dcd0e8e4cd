import type { Fault, FaultCode } from "../../lib/fault.ts";
import { internalFault, sentence } from "../direct-responses.ts";
import type { DirectResponse, HeaderLine } from "../decision.ts";

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

import type { Fault } from "../../lib/fault.ts";
import { type ApiError, errorBody } from "./api-error.ts";
import { API_ERROR } from "./schemas.ts";

/**
 * One refusal that each kind of client can show: `errors` is read by docker and other clients of registries, `error` by those that speak OAuth2
 * (RFC 6749 §5.2), the rest by clients of this API.
 */
export type TokenError = ApiError & { errors: { code: string; message: string }[]; error: string; error_description: string };

const text = { type: "string" } as const;
export const TOKEN_ERROR = {
  type: "object",
  required: API_ERROR.required,
  properties: {
    ...API_ERROR.properties,
    errors: { type: "array", items: { type: "object", properties: { code: text, message: text } } },
    error: text,
    error_description: text,
  },
} as const;

/** By status: the word of the registry's protocol, and the one of OAuth2. */
const WORDS: Readonly<Record<number, readonly [registry: string, oauth: string]>> = {
  400: ["UNSUPPORTED", "invalid_request"],
  401: ["UNAUTHORIZED", "invalid_grant"],
  403: ["DENIED", "access_denied"],
  429: ["TOOMANYREQUESTS", "temporarily_unavailable"],
};

export function tokenError(fault: Fault): TokenError {
  const [code, word] = WORDS[fault.status] ?? ["UNAVAILABLE", "server_error"];
  const error = fault.code === "GRANT_TYPE_UNSUPPORTED" ? "unsupported_grant_type" : word;
  return { ...errorBody(fault), errors: [{ code, message: fault.message }], error, error_description: fault.message };
}

import type { Fault, FaultCode } from "../../lib/fault.ts";
import type { DirectResponse } from "../decision.ts";
import type { RegistryAction } from "../../lib/registry-client/registry-client.ts";
import { registryAnswer } from "./v2-answers.ts";

/** What a request needs of the token with it: these actions on each of these repositories; or, of none, any token at all. */
export type Need = { repository: string; actions: readonly RegistryAction[] };

/** What a client is told of why its token does not do, so that it asks for another one. */
const ERRORS: Partial<Record<FaultCode, string>> = { TOKEN_INVALID: "invalid_token", SCOPE_INSUFFICIENT: "insufficient_scope" };

/** As clients ask for it at the realm: `repository:x:pull,push`. */
export function scopeOf({ repository, actions }: Need): string {
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

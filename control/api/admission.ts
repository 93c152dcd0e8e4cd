import type { FastifyRequest } from "fastify";
import { Fault } from "../../fault.ts";
import type { User } from "../store/entities.ts";
import type { ApiParts } from "./api-parts.ts";
import { readDevKey, signIn, type SignedIn } from "./credentials.ts";
import { isSameOrigin } from "./same-origin.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Who comes in: `session` (where a route says nothing) is anybody who is signed in; of `itself` the handler takes care. */
    admits?: "anyone" | "session" | "itself";
    /** A GET that changes something all the same. */
    mutates?: boolean;
  }
}

export type Admission = {
  /** For every request: refuses who may not come in. Faults: TOKEN_MISSING, TOKEN_INVALID, ORIGIN_NOT_PERMITTED. */
  admit(request: FastifyRequest): void;
  /** Who makes a request that was admitted with a session. */
  caller(request: FastifyRequest): SignedIn;
  /** Whom a developer key names, `key` from the address or the one in `Authorization: Dev`; without one, a session does. Faults: DEV_KEY_INVALID too. */
  developer(request: FastifyRequest, key: string | undefined): User;
};

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** Nothing that a proxy in front says about the caller is believed; each request shows its own credential. */
export function openAdmission({ identity, store, settings }: Pick<ApiParts, "identity" | "store" | "settings">): Admission {
  const callers = new WeakMap<FastifyRequest, SignedIn>();
  const allowed = settings.webRoot === undefined ? settings.origins : [settings.webRoot, ...settings.origins];

  const admitSession = (request: FastifyRequest): SignedIn => {
    const caller = signIn(request.headers, identity.who);
    const mutates = request.routeOptions.config.mutates ?? !SAFE_METHODS.has(request.method);
    if (caller.by === "cookie" && mutates && !isSameOrigin(request.headers, allowed)) {
      throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not do this with the browser's cookie.");
    }
    callers.set(request, caller);
    return caller;
  };

  return {
    admit: (request) => {
      if (!request.is404 && (request.routeOptions.config.admits ?? "session") === "session") admitSession(request);
    },
    caller: (request) => callers.get(request) ?? admitSession(request),
    developer: (request, key) => {
      const shown = key ?? readDevKey(request.headers.authorization);
      if (shown !== undefined) return identity.userOfDevKey(shown);
      const user = store.users.find(admitSession(request).userId);
      if (!user) throw new Fault("TOKEN_INVALID", "The session's user is gone.");
      return user;
    },
  };
}

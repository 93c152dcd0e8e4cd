import { isFieldValue } from "../../lib/character-classes.ts";
import { CallerEdits } from "../caller-edits.ts";
import type { Caller, CallerReply, SessionRef } from "../contract.ts";

/** The holder of a token, as a cache keeps it. Undefined: a token that cannot be in a header has no holder. */
export function knownCaller(token: string, reply: CallerReply): Caller | undefined {
  const { derivedToken } = reply;
  return isFieldValue(token) && (derivedToken === undefined || isFieldValue(derivedToken)) ? new KnownCaller(token, reply) : undefined;
}

class KnownCaller implements Caller {
  readonly token: string;
  declare readonly userId: string;
  declare readonly login: string;
  declare readonly admin: boolean;
  declare readonly derivedToken?: string;
  declare readonly ref?: SessionRef;
  #edits: CallerEdits | undefined;

  constructor(token: string, reply: CallerReply) {
    this.token = token;
    Object.assign(this, reply);
  }

  get edits(): CallerEdits {
    this.#edits ??= new CallerEdits(this.token, this.derivedToken);
    return this.#edits;
  }
}

import type { HeaderLine } from "./decision.ts";
import { ConstantLines } from "./http1/write-lines.ts";

/** Edits of the headers with credentials. `removed`: a sum of `REMOVED_CREDENTIALS`. */
export type CredentialEdits = { removed: number; add: readonly HeaderLine[]; written?: ConstantLines };

/** The parts of `CredentialEdits.removed`. */
export const REMOVED_CREDENTIALS = { authorization: 1, cookie: 2, key: 4 } as const;

/** The edits of requests that have the caller's token in one place only. Each is made once for a caller, when it is needed. */
export class CallerEdits {
  readonly #token: string;
  /** Undefined: the token itself is forwarded. */
  readonly #derived: string | undefined;
  #key: CredentialEdits | undefined;
  #authorization: CredentialEdits | undefined;
  #bearer: CredentialEdits | undefined;

  constructor(token: string, derivedToken: string | undefined) {
    this.#token = token;
    this.#derived = derivedToken === token ? undefined : derivedToken;
  }

  get key(): CredentialEdits {
    this.#key ??= this.#derived === undefined ? NO_EDITS : constantEdits(REMOVED_CREDENTIALS.key, [keyLine(this.#derived)]);
    return this.#key;
  }

  get authorization(): CredentialEdits {
    this.#authorization ??= this.#replaced("");
    return this.#authorization;
  }

  get bearer(): CredentialEdits {
    this.#bearer ??= this.#replaced("Bearer ");
    return this.#bearer;
  }

  #replaced(scheme: string): CredentialEdits {
    const derived = this.#derived;
    if (derived === undefined) return constantEdits(0, [keyLine(this.#token)]);
    return constantEdits(REMOVED_CREDENTIALS.authorization, [["Authorization", `${scheme}${derived}`], keyLine(derived)]);
  }
}

const NO_EDITS: CredentialEdits = { removed: 0, add: [] };

function constantEdits(removed: number, lines: readonly HeaderLine[]): CredentialEdits {
  return { removed, add: [], written: new ConstantLines(lines) };
}

/** The line that gives a container a token of its caller. */
export function keyLine(token: string): HeaderLine {
  return ["x-user-api-key", token];
}

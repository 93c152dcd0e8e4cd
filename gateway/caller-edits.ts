import type { HeaderLine } from "./decision.ts";

/** Edits of the headers with credentials. `removed`: a sum of `REMOVED_CREDENTIALS`. */
export type CredentialEdits = { removed: number; add: readonly HeaderLine[] };

/** The parts of `CredentialEdits.removed`. */
export const REMOVED_CREDENTIALS = { authorization: 1, cookie: 2, key: 4 } as const;

/** The edits of requests that have the caller's token in one place only: made once for each caller. */
export type CallerEdits = { key: CredentialEdits; authorization: CredentialEdits; bearer: CredentialEdits };

/** Someone who holds a valid token. */
export type Caller = {
  /** The session token itself. Never logged. */
  token: string;
  userId: string;
  login: string;
  admin: boolean;
  /**
   * What a container is given in place of the token: it names the same user, without administration, and ends with the session. Undefined where a Datagrok
   * server knows the sessions: there the token itself goes on.
   */
  derivedToken?: string;
  /** What a start for this caller ends with; only control reads it. */
  ref?: SessionRef;
};

/**
 * With what it ends that somebody started: a session, and the developer key that opened it, by their digests. `own` is the session that was shown, where that
 * is another one.
 */
export type SessionRef = { own?: string; session?: string; key?: string };

/** The second seam: who holds this token. An answer may be up to 10 s old, so a revoked session ends within that. */
export type Identity = {
  /** Who holds it, where that is known without asking; undefined says nothing. */
  known(token: string): Caller | undefined;
  /**
   * Undefined for a token that is not valid. `client` is the address of the client that shows it, by which look-ups are shared out. Faults: CONTROL_AWAY
   * where control is unavailable and nothing is cached; TOO_MANY_ATTEMPTS where that client has sent many wrong tokens.
   */
  who(token: string, signal: AbortSignal, client?: string): Promise<Caller | undefined>;
  /** Those of these tokens that are not valid any more; looked up many at once where that is not known. A token that cannot be looked up counts as before. */
  ended(tokens: readonly string[]): Promise<readonly string[]>;
  /** Calls `listener` after a session ended before its time, until the returned function is called. */
  watchSignOuts(listener: () => void): () => void;
  close(): Promise<void>;
};

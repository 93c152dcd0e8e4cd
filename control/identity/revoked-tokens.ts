import type { RevokedTokens } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Store } from "../store/open-store.ts";
import { TOKEN_SECONDS } from "./signing-keys.ts";

/** Docker tokens that must not count any more, though they are signed and not expired: their users were blocked or removed, or lost a key or rights. */
export type TokenRevocations = {
  /** From now on, no token of this user that was issued until now counts. */
  add(login: string): void;
  all(): Promise<RevokedTokens[]>;
  /**
   * Undefined: a token that is issued for rights that were read from `since` on (epoch ms) counts. Otherwise the rights may be fewer now: after so many
   * milliseconds they are read again. Times in tokens are whole seconds, and those of the revocation's own second do not count.
   */
  retryMs(login: string, since: number): number | undefined;
};

/** With more, no token of any user that was issued until now counts: clients request the next one by themselves. */
const MOST_LOGINS = 1_000;

/**
 * In memory, for as long as such tokens may exist. Blocked users are in the store; what others lost before control was restarted is not, and counts when their
 * tokens expire.
 */
export function createTokenRevocations({ store, clock }: { store: Pick<Store, "users">; clock: Pick<Clock, "now"> }): TokenRevocations {
  const revoked = new Map<string, number>();
  let everyone: number | undefined;
  let loaded: Promise<void> | undefined;
  const seconds = (ms: number) => Math.floor(ms / 1_000);
  const oldest = () => seconds(clock.now()) - TOKEN_SECONDS;

  const put = (login: string, until: number) => {
    for (const [one, before] of revoked) if (before < oldest()) revoked.delete(one);
    if (revoked.size >= MOST_LOGINS) {
      everyone = seconds(clock.now());
      revoked.clear();
    }
    revoked.set(login, Math.max(until, revoked.get(login) ?? 0));
  };
  const load = async () => {
    for (const { login, blockedOn } of await store.users.blockedSince(oldest() * 1_000)) put(login, seconds(blockedOn ?? 0));
  };

  return {
    retryMs: (login, since) => {
      const until = Math.max(revoked.get(login) ?? 0, everyone ?? 0);
      // The clock may have been set back since the revocation.
      return until < seconds(since) ? undefined : Math.min(1_000, Math.max(0, (until + 1) * 1_000 - clock.now()));
    },
    add: (login) => put(login, seconds(clock.now())),
    all: async () => {
      await (loaded ??= load().catch((error: unknown) => {
        loaded = undefined;
        throw error;
      }));
      const list: RevokedTokens[] = [...revoked].filter(([, until]) => until >= oldest()).map(([login, until]) => ({ login, until }));
      return everyone === undefined || everyone < oldest() ? list : [{ until: everyone }, ...list];
    },
  };
}

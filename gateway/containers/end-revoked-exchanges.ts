import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Directory, Identity } from "../contract.ts";
import type { RevocableLease, Leases } from "./lease.ts";

/** With the age that an answer about a caller may have (5 s), what is open ends within 10 s of a revocation, even if the news of it is lost. */
const CHECK_EVERY_MS = 2_000;
/** After a sign-out all callers with open exchanges are looked up; many sign-outs in a row are one. */
const PAUSE_MS = 250;
/** So many of a Datagrok server's rights are looked up at a time. */
const LOOK_UPS = 16;

export type EndRevokedExchangesDeps = { leases: Pick<Leases, "openLeases">; identity: Identity; directory: Directory; clock: Clock };

/**
 * Ends requests and WebSockets whose caller's session was revoked, or who lost the right to their container, while they are open. Where the look-up is unavailable,
 * they go on. `close` stops looking.
 */
export function endRevokedExchanges({ leases, identity, directory, clock }: EndRevokedExchangesDeps): { close(): void } {
  const closed = new AbortController();
  let cancel = clock.after(CHECK_EVERY_MS, () => void check());
  let checking = false;
  let again = false;

  const check = async (): Promise<void> => {
    if (checking) {
      again = true;
      return;
    }
    cancel();
    checking = true;
    again = false;
    try {
      await endWithoutSession(claimsByToken(leases.openLeases()), identity);
      await endWithoutRight(leases.openLeases(), directory, closed.signal);
    } finally {
      checking = false;
      if (!closed.signal.aborted) cancel = clock.after(again ? PAUSE_MS : CHECK_EVERY_MS, () => void check());
    }
  };
  const unwatch = identity.watchSignOuts(() => void check());

  return {
    close: () => {
      closed.abort(new Error("the gateway ends"));
      unwatch();
      cancel();
    },
  };
}

function claimsByToken(claims: Iterable<RevocableLease>): Map<string, RevocableLease[]> {
  const found = new Map<string, RevocableLease[]>();
  for (const claim of claims) {
    const others = found.get(claim.caller.token);
    if (others === undefined) found.set(claim.caller.token, [claim]);
    else others.push(claim);
  }
  return found;
}

async function endWithoutSession(claims: Map<string, RevocableLease[]>, identity: Identity): Promise<void> {
  if (claims.size === 0) return;
  const ended = await identity.findEnded([...claims.keys()]);
  for (const token of ended) {
    const fault = new Fault("TOKEN_INVALID", "The session has ended while the request was open: sign in again");
    for (const claim of claims.get(token) ?? []) claim.revoke(fault);
  }
}

/** Control lets everybody call who is signed in; a Datagrok server has rights for each container. */
async function endWithoutRight(claims: Iterable<RevocableLease>, directory: Directory, signal: AbortSignal): Promise<void> {
  const unknown = [...claims].filter(({ containerId, caller }) => directory.cached(containerId, caller) === undefined);
  for (let at = 0; at < unknown.length; at += LOOK_UPS) {
    const some = unknown.slice(at, at + LOOK_UPS);
    await Promise.all(
      some.map((claim) =>
        directory.find(claim.containerId, claim.caller, signal).catch((error: unknown) => {
          if (error instanceof Fault && error.code === "NOT_PERMITTED") claim.revoke(error);
        }),
      ),
    );
  }
}

import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Directory, Identity } from "../contract.ts";
import type { OpenExchanges, RevocableLease } from "./open-exchanges.ts";

/** Cached callers are at most 8 s old, so exchanges end within 10 s of a revocation even if its event is lost. */
const CHECK_EVERY_MS = 2_000;
/** Every sign-out causes a check; several within this time cause one. */
const PAUSE_MS = 250;
/** Rights that are looked up at a Datagrok server at a time. */
const CONCURRENT_LOOKUPS = 16;

type EndRevokedExchangesDeps = { exchanges: Pick<OpenExchanges, "leases">; identity: Identity; directory: Directory; clock: Clock };

/**
 * Ends open requests and WebSockets after their caller's session or right was revoked. While the look-up is unavailable, they continue. `close` ends the
 * checks.
 */
export function startRevocationChecks({ exchanges, identity, directory, clock }: EndRevokedExchangesDeps): { close(): void } {
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
      await endWithoutSession(leasesByToken(callersLeases(exchanges)), identity);
      await endWithoutRight(callersLeases(exchanges), directory, closed.signal);
    } finally {
      checking = false;
      if (!closed.signal.aborted) cancel = clock.after(again ? PAUSE_MS : CHECK_EVERY_MS, () => void check());
    }
  };
  const unwatch = identity.watchSignOuts(() => void check());

  return {
    close: () => {
      closed.abort(new Error("the gateway closes"));
      unwatch();
      cancel();
    },
  };
}

/** Without those of TCP connections, which have no session. */
function callersLeases(exchanges: Pick<OpenExchanges, "leases">): RevocableLease[] {
  return exchanges.leases().filter(({ caller }) => caller.token !== "");
}

function leasesByToken(leases: Iterable<RevocableLease>): Map<string, RevocableLease[]> {
  const byToken = new Map<string, RevocableLease[]>();
  for (const lease of leases) {
    const others = byToken.get(lease.caller.token);
    if (others === undefined) byToken.set(lease.caller.token, [lease]);
    else others.push(lease);
  }
  return byToken;
}

async function endWithoutSession(leases: Map<string, RevocableLease[]>, identity: Identity): Promise<void> {
  if (leases.size === 0) return;
  const ended = await identity.findEnded([...leases.keys()]);
  for (const token of ended) {
    const fault = new Fault("TOKEN_INVALID", "The session ended while the request was open: sign in again");
    for (const lease of leases.get(token) ?? []) lease.revoke(fault);
  }
}

/** Control permits every user; a Datagrok server has rights for each container. */
async function endWithoutRight(leases: Iterable<RevocableLease>, directory: Directory, signal: AbortSignal): Promise<void> {
  const unknown = [...leases].filter(({ containerId, caller }) => directory.cached(containerId, caller) === undefined);
  for (let at = 0; at < unknown.length; at += CONCURRENT_LOOKUPS) {
    const batch = unknown.slice(at, at + CONCURRENT_LOOKUPS);
    await Promise.all(
      batch.map((lease) =>
        directory.find(lease.containerId, lease.caller, signal).catch((error: unknown) => {
          if (error instanceof Fault && error.code === "NOT_PERMITTED") lease.revoke(error);
        }),
      ),
    );
  }
}

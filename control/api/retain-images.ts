import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { RegistryGarbageDeps, RegistryRetention } from "./api-deps.ts";
import { imagesInUse } from "./images.ts";
import type { RetentionRunJson } from "./schemas.ts";
import type { AuditAction } from "../model/audit-actions.ts";
import type { AuditLog } from "../store/audit.ts";
import type { Store } from "../store/open-store.ts";

const ACTION = "imagesRetained" satisfies AuditAction;
/** The target of a daily run says how many. */
const REMOVED = " removed";
/** A run that the log has from so recently was today's; one from a later time is from before the clock was set back. */
const SAME_DAY_MS = 20 * 3_600_000;
const LOOK_MS = 10 * 60_000;
const FIRST_MS = 5_000;

/**
 * Applies the retention rules of berth's own registry on request, and once a day in `hour` of UTC. Only the leader runs it. The audit log has each run, so
 * a leader of later that hour does not repeat it.
 */
export function createRegistryRetention(options: {
  rules: readonly string[];
  hour: number;
  store: Store;
  /** The registry process. Undefined: it does not run on this machine. */
  apply(request: { rules: readonly string[]; used: readonly string[]; dryRun: boolean }): Promise<RetentionRunJson | undefined>;
  garbage: RegistryGarbageDeps;
  audit: AuditLog;
  clock: Clock;
  log: Log;
}): RegistryRetention & { start(): void; close(): void } {
  const { rules, hour, store, apply, garbage, audit, clock, log } = options;
  let last: RetentionRunJson | undefined;
  let cancel: (() => void) | undefined;
  let isClosed = false;

  const run = async ({ dryRun }: { dryRun: boolean }): Promise<RetentionRunJson | undefined> => {
    if (rules.length === 0)
      throw new Fault(
        "SETTINGS_INVALID",
        "BERTH_REGISTRY_RETENTION has no rules. Set it, for example to `datagrok/*:pr-* keep=5 days=14`, and restart berth.",
      );
    const result = await apply({ rules, used: await imagesInUse(store), dryRun });
    if (result) last = result;
    return result;
  };

  const runDaily = async () => {
    // Also a user may have the login; a request has no such target.
    const [before] = await store.audit.list({ action: ACTION, login: "berth", target: REMOVED, limit: 1 });
    if (before !== undefined && Math.abs(clock.now() - before.at) < SAME_DAY_MS) return;
    const result = await run({ dryRun: false });
    if (result === undefined) return;
    const none = { userId: undefined, via: undefined, address: undefined, requestId: undefined, status: undefined };
    await audit.append({
      ...none,
      action: ACTION,
      login: "berth",
      target: `${result.removed === 1 ? "1 image" : `${result.removed} images`}${REMOVED}`,
    });
    // On shared storage another machine's registry may take a push meanwhile.
    if (result.removed > 0 && (await garbage.status())?.isShared === false) await garbage.start({ dryRun: false });
  };
  const look = async () => {
    if (new Date(clock.now()).getUTCHours() === hour)
      await runDaily().catch((err: unknown) => log.error({ err }, "retention rules could not be applied"));
    schedule(LOOK_MS);
  };
  const schedule = (ms: number) => {
    if (!isClosed) cancel = clock.after(ms, () => void look());
  };

  return {
    status: () => ({ rules: [...rules], hour, last: last ?? null }),
    run,
    start: () => {
      if (rules.length > 0) schedule(FIRST_MS);
    },
    close: () => {
      isClosed = true;
      cancel?.();
    },
  };
}

import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { openTlsKeys, type TlsKeys } from "../gateway/tls-keys.ts";
import type { Log } from "../lib/log.ts";

/** The keys that the edge and the registry proxy speak TLS with; undefined where none are set. Faults: SETTINGS_INVALID. SIGHUP makes them be read again, beside their own changes. */
export function openEdgeTlsKeys({ tlsCert, tlsKey }: Settings, clock: Clock, log: Log): TlsKeys | undefined {
  const names = { cert: "BERTH_TLS_CERT", key: "BERTH_TLS_KEY" };
  const keys = openListenerTlsKeys({ cert: tlsCert, key: tlsKey }, { names, whose: "The edge", clock, log });
  if (keys) process.on("SIGHUP", keys.reload);
  return keys;
}

/** The same for a listener of its own, `whose` in the log, and whose settings have these names. */
export function openListenerTlsKeys(
  { cert, key }: { cert: string | undefined; key: string | undefined },
  { names, whose, clock, log }: { names: { cert: string; key: string }; whose: string; clock: Clock; log: Log },
): TlsKeys | undefined {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) throw new Fault("SETTINGS_INVALID", `${names.cert} and ${names.key} are set together or not at all.`);
  return openTlsKeys({ files: { cert, key }, whose, clock, log });
}

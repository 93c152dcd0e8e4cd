import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import { openTlsKeys, type TlsKeys } from "../gateway/tls-keys.ts";
import type { Log } from "../log.ts";

/** The keys that listeners speak TLS with; undefined where none are set. Faults: SETTINGS_INVALID. SIGHUP makes them be read again, beside their own changes. */
export function openKeys({ tlsCert, tlsKey }: Settings, clock: Clock, log: Log): TlsKeys | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new Fault("SETTINGS_INVALID", "BERTH_TLS_CERT and BERTH_TLS_KEY are set together or not at all.");
  }
  const keys = openTlsKeys({ files: { cert: tlsCert, key: tlsKey }, clock, log });
  process.on("SIGHUP", keys.reload);
  return keys;
}

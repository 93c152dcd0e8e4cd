import { stringify } from "yaml";
import type { LogLevel } from "../../lib/log.ts";

/** How long Distribution may finish open requests when it stops, in milliseconds. */
const DRAIN_MS = 30_000;
/** How long it takes at most to end, in milliseconds: then it is ended by force. */
export const DISTRIBUTION_ENDS_MS = DRAIN_MS + 2_000;

type DistributionConfig = {
  /** Where blobs and manifests lie. */
  storage: string;
  /** The Unix socket that it listens on: nobody but a proxy of this user reaches it, so it asks nobody who they are. */
  socket: string;
  /** Signs the state of uploads, so that one can be resumed after a restart. */
  secret: string;
  /** It takes no pushes and no deletes: 405. */
  readOnly: boolean;
  level: LogLevel;
};

/** Distribution knows no level that says nothing: what it then says is thrown away by our own log. */
const LEVELS: Record<LogLevel, string> = { debug: "debug", info: "info", warn: "warn", error: "error", silent: "error" };

/** The text of its configuration file, the same for version 2.8 and 3. */
export function distributionConfig({ storage, socket, secret, readOnly, level }: DistributionConfig): string {
  return stringify({
    version: 0.1,
    log: { formatter: "json", level: LEVELS[level], accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: storage },
      delete: { enabled: true },
      // Uploads that were begun and left are removed after a week.
      maintenance: { uploadpurging: { enabled: true, age: "168h", interval: "24h", dryrun: false }, readonly: { enabled: readOnly } },
    },
    http: {
      net: "unix",
      addr: socket,
      secret,
      // It knows no address that a client could use; what it names in Location is below /v2/ of whoever was asked.
      relativeurls: true,
      draintimeout: `${DRAIN_MS}ms`,
    },
  });
}

/**
 * One gateway process as berth runs it, behind `control-process.ts`: `node berth-process.ts FOLDER PORT SETTINGS`. As one of `berth-workers.ts` it is
 * given the socket that it accepts on.
 */
import { once } from "node:events";
import { join } from "node:path";
import { systemClock } from "../../../lib/clock.ts";
import { localControl } from "../../../gateway/feed/control-client.ts";
import type { SocketSetting } from "../../../gateway/connections/choose-sockets.ts";
import { openFeed } from "../../../gateway/feed/open-feed.ts";
import { openAccessLog } from "../../../gateway/access-log.ts";
import { openGateway } from "../../../gateway/open-gateway.ts";
import { createRecentRequests } from "../../../gateway/recent-requests.ts";
import { openTlsKeys } from "../../../gateway/tls-keys.ts";
import { ownText } from "../../../lib/own-files.ts";
import { openLog } from "../../../lib/log.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { openConfiguredConnections } from "../../../processes/configured-connections.ts";
import { DEFAULT_LIMITS } from "../../fixtures/gateway-limits.ts";
import { certificateOf } from "./world.ts";

const [folder = "", port = "", settings = "{}"] = process.argv.slice(2);
const clock = systemClock();
const log = openLog({ level: "warn", name: "bench" });
const link = localControl({ feedSocket: join(folder, "control.sock"), apiSocket: join(folder, "no-api.sock") });
const feed = openFeed({ link, version: "bench", clock, log });
// A row whose setting this checkout does not know is left out before it comes here.
const { accessLog, tls, sockets = "node", ...engine } = JSON.parse(settings) as { accessLog?: string; tls?: boolean; sockets?: SocketSetting };
const metrics = openMetrics();
const writes =
  accessLog &&
  openAccessLog({ to: accessLog, query: false, dropped: metrics.accessLogDropped.at(), clock, onError: (error) => console.error(error) });
const gateway = await openGateway({
  directory: feed.directory,
  identity: feed.identity,
  api: link.api,
  origins: [],
  metrics,
  connections: (await openConfiguredConnections({ sockets }, { metrics, clock, log })).connections,
  // What berth does by default.
  recent: createRecentRequests(clock).write,
  waitingFiles: { css: ownText("gateway/waiting/page.css"), js: ownText("gateway/waiting/page.js") },
  watchers: writes ? [writes.write] : [],
  tls: tls ? openTlsKeys({ files: certificateOf({ folder }), clock, log }) : undefined,
  clock,
  log,
  // All load comes from one address. While others have their turn, connections stay open, as those of the peers do.
  limits: { ...DEFAULT_LIMITS, connectionsPerAddress: 65_536, connectionsTotal: 65_536, upstreamIdleMs: 600_000 },
  ...engine,
});
await feed.ready();
if (process.send) gateway.server.listen((await once(process, "message"))[1], 4_096);
else gateway.server.listen(Number(port), "127.0.0.1", 4_096);
process.once("disconnect", () => process.exit(0));
process.once("SIGTERM", () => process.exit(0));

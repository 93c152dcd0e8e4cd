import type { Settings } from "../conf/settings.ts";
import { chooseSockets, type SocketChoice } from "../gateway/connections/choose-sockets.ts";
import { type ConnectionFactory, createConnectionFactory } from "../gateway/connections/open-connections.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";

/** The connections of a gateway process, on the sockets that `BERTH_SOCKETS` names. A metric says which. */
export async function openConfiguredConnections(
  { sockets }: Pick<Settings, "sockets">,
  { metrics, clock, log }: { metrics: Metrics; clock: Clock; log: Log },
): Promise<{ connections: ConnectionFactory; sockets: SocketChoice["name"] }> {
  const { name, plain } = await chooseSockets(sockets, { clock, log });
  metrics.sockets.at(name).set(1);
  return { connections: createConnectionFactory(plain === undefined ? {} : { plain }), sockets: name };
}

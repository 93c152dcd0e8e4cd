/** A gateway in a process of its own, which says what it holds: `node --expose-gc gateway.ts OPTIONS`, as JSON. */
import { Socket, type AddressInfo } from "node:net";
import { queryObjects } from "node:v8";
import { clockFrom, systemClock } from "../../lib/clock.ts";
import type { Availability } from "../../gateway/contract.ts";
import { NetConnection } from "../../gateway/connections/connection.ts";
import { ClientConnection } from "../../gateway/exchange/client-connection.ts";
import { ContainerConnection } from "../../gateway/exchange/container-connection.ts";
import { Exchange } from "../../gateway/exchange/exchange.ts";
import { MemorySocket } from "../../gateway/connections/memory-sockets.ts";
import { InMemoryConnection } from "../../gateway/http2/in-memory-connection.ts";
import { openGateway } from "../../gateway/open-gateway.ts";
import { openLog } from "../../lib/log.ts";
import { createOpenExchanges } from "../../gateway/containers/open-exchanges.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { METRICS } from "../../lib/metrics/table.ts";
import type { TlsKeys } from "../../gateway/tls-keys.ts";
import { openTestConnections } from "../fixtures/connections.ts";
import { openTestDirectory } from "../fixtures/directory.ts";
import { DEFAULT_LIMITS } from "../fixtures/gateway-limits.ts";
import { describeClients } from "./describe-clients.ts";
import { createRecentExchanges } from "./recent-exchanges.ts";

/** What the process holds after everything that is garbage was collected. */
export type Held = {
  heapBytes: number;
  /** Buffers, which are outside the heap. */
  bufferBytes: number;
  /** The memory of the parser's program. */
  parserBytes: number;
  timers: number;
  /** Exchanges whose begin was reported to the directory, and whose end was not. */
  uses: number;
  watchers: number;
  /** Open exchanges, WebSockets too. */
  leases: number;
  /** Idle connections to containers. */
  pooled: number;
  objects: Record<string, number>;
};

export type SoakGatewayOptions = {
  views: Record<string, Availability>;
  /** Makes it a TLS server. */
  tls?: { cert: string; key: string } | undefined;
  /** Offers HTTP/2 to TLS clients. */
  http2?: boolean;
  /** A container that sleeps for some ms again and again. */
  napping?: { id: string; awakeMs: number; asleepMs: number } | undefined;
};

const { views, tls, http2, napping } = JSON.parse(process.argv[2] ?? "") as SoakGatewayOptions;

const programs: { exports: { memory: WebAssembly.Memory } }[] = [];
Reflect.set(
  WebAssembly,
  "Instance",
  new Proxy(WebAssembly.Instance, {
    construct: (kind, given) => {
      const program = Reflect.construct(kind, given) as (typeof programs)[number];
      programs.push(program);
      return program;
    },
  }),
);

let timers = 0;
const system = systemClock();
const clock = clockFrom({
  ...system,
  after: (ms, task) => {
    timers++;
    let waits = true;
    const over = () => {
      if (waits) timers--;
      waits = false;
    };
    const cancel = system.after(ms, () => {
      over();
      task();
    });
    return () => {
      over();
      cancel();
    };
  },
});

const held = openTestDirectory();
const availabilities = Object.entries(views);
for (const [id, availability] of availabilities) held.set(id, availability);
if (napping !== undefined) nap(napping);
const exchanges = createOpenExchanges();
const metrics = openMetrics();
const keys: TlsKeys | undefined = tls && { current: () => tls, onChange: () => () => undefined, reload: () => undefined, close: () => undefined };
const recent = createRecentExchanges();
const gateway = await openGateway({
  exchanges,
  metrics,
  tls: keys,
  http2: http2 ?? false,
  connections: openTestConnections(),
  directory: held.directory,
  identity: held.identity,
  api: { target: { socketPath: "/nonexistent/api.sock" } },
  origins: [],
  // Dead targets are given up, and what is idle is closed, soon enough for a soak.
  limits: { ...DEFAULT_LIMITS, suspectAddressMs: 10, lingeringCloseMs: 500, connectTimeoutMs: 2_000, upstreamIdleMs: 500 },
  clock,
  watchers: [recent.add],
  log: Object.assign(openLog({ level: "warn", name: "soak" }), { debug: recent.note }),
});

const COUNTED = { Socket, Connection: NetConnection, ClientConnection, ContainerConnection, Exchange, MemorySocket, InMemoryConnection, AbortSignal };

function nap({ id, awakeMs, asleepMs }: NonNullable<SoakGatewayOptions["napping"]>): void {
  const awake = views[id] as Availability;
  setTimeout(() => {
    held.set(id, { kind: "coming" });
    setTimeout(() => {
      held.set(id, awake);
      nap({ id, awakeMs, asleepMs });
    }, asleepMs);
  }, awakeMs);
}

/** What the fixture remembers for tests would itself be a leak. */
function forgetReports(): void {
  for (const list of [held.reports, held.questions, held.wakes]) list.length = 0;
}
setInterval(forgetReports, 1_000).unref();

async function look(): Promise<Held> {
  forgetReports();
  for (let round = 0; round < 3; round++) globalThis.gc?.();
  const objects = Object.fromEntries(Object.entries(COUNTED).map(([name, kind]) => [name, queryObjects(kind, { format: "count" })]));
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  let uses = 0;
  for (const { open, streams } of held.uses.values()) uses += open + streams;
  let watchers = 0;
  for (const [id] of availabilities) watchers += held.watchers(id);
  const parserBytes = programs.reduce((sum, { exports }) => sum + exports.memory.buffer.byteLength, 0);
  const pooled = (await metrics.snapshot()).find(({ name }) => name === METRICS.pooled.name)?.values[0]?.value ?? 0;
  const leases = exchanges.leases().length;
  return { heapBytes: heapUsed, bufferBytes: arrayBuffers - parserBytes, parserBytes, timers, uses, watchers, leases, pooled, objects };
}

process.on("message", (message) => {
  if (message === "timers") process.send?.({ timers });
  else if (typeof message === "string" && message.startsWith("exchange ")) process.send?.(recent.describe(message.slice(9)));
  else if (message === "open") void describeClients().then((lines) => process.send?.(lines));
  else void look().then((answer) => process.send?.(answer));
});
process.once("disconnect", () => process.exit(0));
gateway.server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  process.send?.({ port: (gateway.server.address() as AddressInfo).port });
});

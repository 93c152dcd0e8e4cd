/**
 * `npm run bench:decide`: what a warm request costs besides its bytes: the decision, its lease, the head to send, the edits of the response and the record,
 * over the real cache of callers and the real counting of use, without any socket. For each usual kind of request it prints nanoseconds of CPU (the
 * lowest of several passes) and allocated bytes. Heads are read anew for each request; the cost of reading is measured by itself and subtracted.
 */
import { getHeapStatistics } from "node:v8";
import { AccessRecord, answersOf, createExchangeObserver } from "../../gateway/access-record.ts";
import { createDecide } from "../../gateway/containers/decide.ts";
import { createHold } from "../../gateway/containers/hold.ts";
import { createLeases } from "../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../gateway/containers/open-exchanges.ts";
import type { ContainerUse } from "../../gateway/contract.ts";
import type { ClientPeer } from "../../gateway/decision.ts";
import { openCallerCache } from "../../gateway/feed/caller-cache.ts";
import { createContainerCache } from "../../gateway/feed/container-cache.ts";
import { openUseReports } from "../../gateway/feed/use-reports.ts";
import { createTrustedProxies } from "../../gateway/trusted-proxies.ts";
import { createHttp1 } from "../../gateway/http1/message-reader.ts";
import { createReadiness } from "../../gateway/readiness.ts";
import { systemClock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { DEFAULT_LIMITS } from "../fixtures/gateway-limits.ts";

const CALLS = Number(process.env["CALLS"] ?? 200_000);
const PASSES = 7;
const CONTAINERS = 1_000;
const CALLERS = 1_000;

const clock = systemClock();
const log = openLog({ level: "silent", name: "bench" });
const ids = Array.from({ length: CONTAINERS }, (_, at) => `1b9f4f0c-5c8e-4c53-9a52-${at.toString(16).padStart(12, "0")}`);
/** Of the form of berth's own: 43 characters. */
const tokens = Array.from({ length: CALLERS }, (_, at) => `a-session-token-of-forty-three-characters${at.toString(36).padStart(2, "0")}`);

const metrics = openMetrics();
const observer = createExchangeObserver(metrics, []);
const containers = createContainerCache();
for (const id of ids) containers.change({ id, name: "demo", availability: { kind: "awake", addresses: [{ host: "127.0.0.1", port: 9 }] } });
const reports = openUseReports({ clock, readHead: () => ({ gateway: "bench", seq: 0 }), send: () => Promise.resolve() });
const identity = openCallerCache({
  clock,
  closed: new AbortController().signal,
  full: () => new Fault("CONTROL_AWAY", "full"),
  findCallers: async (lookups) =>
    lookups.map((token) => ({
      userId: "11111111-1111-4111-8111-111111111111",
      login: "ada",
      admin: false,
      derivedToken: token.replace("a-session", "derived-s"),
    })),
});
const directory = {
  find: (id: string) => Promise.resolve(containers.find(id)),
  cached: (id: string) => containers.find(id),
  watch: containers.watch,
  wake: () => Promise.resolve(),
  startStatus: () => Promise.resolve(undefined),
  reportConnected: () => undefined,
  reportBusy: () => undefined,
  reportUse: (use: ContainerUse) => reports.used(use, false),
  close: () => Promise.resolve(),
};
const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
const exchanges = createOpenExchanges();
const leases = createLeases({
  directory,
  hold,
  exchanges,
  clock,
  suspectAddressMs: 1_000,
  holdMs: 1_000,
  answersOf: (name) => answersOf(metrics, name),
});
const decide = createDecide({
  readiness: createReadiness("ready"),
  sendsAgain: true,
  directory,
  identity,
  leases,
  api: { target: { socketPath: "/nowhere" } },
  trusted: createTrustedProxies(["10.0.0.0/8"]),
  origins: ["https://stand.example"],
  limits: DEFAULT_LIMITS,
  clock,
  log,
});

const client: ClientPeer = { address: "127.0.0.1" };
const proxy: ClientPeer = { address: "10.1.2.3" };
const { signal } = new AbortController();

/** The lines of a request beyond Host, User-Agent and Accept. */
type BenchRequest = { name: string; peer: ClientPeer; lines(token: string): string };

const BEHIND_PROXY = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: stand.example\r\n";
const TRACED = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-Id: 7f000001-abcdef-42\r\n";
const REQUESTS: readonly BenchRequest[] = [
  { name: "x-user-api-key", peer: client, lines: (token) => `x-user-api-key: ${token}\r\n` },
  { name: "Authorization: token", peer: client, lines: (token) => `Authorization: ${token}\r\n` },
  { name: "Authorization: Bearer", peer: client, lines: (token) => `Authorization: Bearer ${token}\r\n` },
  { name: "cookie", peer: client, lines: (token) => `Cookie: theme=dark; auth=${token}\r\nSec-Fetch-Site: same-origin\r\n` },
  { name: "page of another origin", peer: client, lines: (token) => `x-user-api-key: ${token}\r\nOrigin: https://stand.example\r\n` },
  {
    name: "WebSocket",
    peer: client,
    lines: (token) =>
      `x-user-api-key: ${token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`,
  },
  { name: "behind a trusted proxy", peer: proxy, lines: (token) => `x-user-api-key: ${token}\r\n${BEHIND_PROXY}` },
  { name: "with traceparent and X-Request-Id", peer: client, lines: (token) => `x-user-api-key: ${token}\r\n${TRACED}` },
];

const SENT = Buffer.alloc(65_536);
const http1 = createHttp1({ underscoreHeaders: "drop" });
const requests = http1.requests();
const responses = http1.responses();
const RESPONSE = Buffer.from(
  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\nDate: Tue, 24 Nov 2026 02:46:43 GMT\r\n\r\n",
);
responses.readHead(RESPONSE, 0, RESPONSE.length);
const response = responses.head;

function bytesOf({ lines }: BenchRequest): Buffer[] {
  return Array.from({ length: CALLERS }, (_, at) =>
    Buffer.from(
      `GET /api/docker/containers/proxy/${ids[(at * 7) % CONTAINERS]}/square?number=4 HTTP/1.1\r\n` +
        `Host: stand.example:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n${lines(tokens[at] ?? "")}\r\n`,
      "latin1",
    ),
  );
}

function read(bytes: Buffer): typeof requests.head {
  requests.readHead(bytes, 0, bytes.length);
  return requests.head;
}

function serve(bytes: Buffer, peer: ClientPeer): unknown {
  const head = read(bytes);
  const record = new AccessRecord(observer, clock, head, peer.address);
  const decision = decide({ head, peer, tls: false, signal });
  if (decision instanceof Promise) return decision.then((late) => "lease" in late && late.lease.release());
  if (decision.kind !== "forward") throw new Error(decision.kind);
  const { lease, forward, labels } = decision;
  if (labels !== undefined) record.decided(labels);
  const target = lease.target();
  head.put(SENT, 0, forward.target, forward.request);
  lease.countBytes(200, "container");
  forward.response(response, 0);
  record.responseStarted(200);
  record.finish("answered");
  lease.release();
  return target;
}

type Figures = { ns: number; bytes: number };

async function measure(messages: readonly Buffer[], work: (bytes: Buffer) => unknown): Promise<Figures> {
  // Timers renew the callers.
  await new Promise((resolve) => void setImmediate(resolve));
  const allocated = getHeapStatistics().total_allocated_bytes;
  const before = process.cpuUsage();
  for (let at = 0; at < CALLS; at++) work(messages[at % CALLERS] as Buffer);
  const { user, system } = process.cpuUsage(before);
  return { ns: ((user + system) * 1_000) / CALLS, bytes: (getHeapStatistics().total_allocated_bytes - allocated) / CALLS };
}

function lowest(figures: readonly Figures[]): Figures {
  return { ns: Math.min(...figures.map(({ ns }) => ns)), bytes: Math.min(...figures.map(({ bytes }) => bytes)) };
}

for (const token of tokens) await identity.find(token, signal);
const kinds = REQUESTS.map((request) => ({ request, messages: bytesOf(request), reading: [] as Figures[], all: [] as Figures[] }));
// The first pass warms up. Passes alternate, so that a busy moment of the machine touches all kinds.
for (let pass = 0; pass <= PASSES; pass++) {
  for (const { request, messages, reading, all } of kinds) {
    for (const token of tokens) await identity.find(token, signal);
    const alone = await measure(messages, read);
    const whole = await measure(messages, (bytes) => serve(bytes, request.peer));
    if (pass === 0) continue;
    reading.push(alone);
    all.push(whole);
  }
}
for (const { request, reading, all } of kinds) {
  const alone = lowest(reading);
  const whole = lowest(all);
  const ns = (whole.ns - alone.ns).toFixed(0).padStart(6);
  console.log(`${request.name.padEnd(36)}${ns} ns${(whole.bytes - alone.bytes).toFixed(0).padStart(6)} bytes`);
}
await identity.close();
await reports.close();

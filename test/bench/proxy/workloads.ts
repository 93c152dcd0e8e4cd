import { join } from "node:path";
import { h2load } from "./load/h2load.ts";
import type { LoadResult, LoadPlan } from "./load/plan.ts";
import type { PinnedCommand } from "./pinned.ts";
import { PREFIX, WS_PREFIX, type BenchWorld } from "./world.ts";

/** What a load is run against. `pid` is the proxy's; none where requests go to the container directly. */
export type Against = {
  world: BenchWorld;
  port: number;
  pid: number | undefined;
  /** Until it is interrupted: it takes turns with others. */
  seconds: number | "endless";
  streamMb: number;
};

export type Workload = {
  name: string;
  /** What the cost is divided by. */
  unit: "request" | "message" | "event" | "GiB";
  says: string;
  /** Which of the two upstreams answers. */
  to: "fixed" | "raw";
  /** Long bodies: a peer may have a listener tuned for them. */
  stream?: true;
  /** Each pass gets a process of its own, that was just started. */
  fresh?: true;
  /** Its load counts from the first request on, so one that is not counted, and has at least so many, comes before it. */
  wakeRequests?: number;
  /** Each answer is waited for, so the load can be held while others have their turns. The containers count the answers. */
  takesTurns?: true;
  /** A route that only berth has. */
  berthOnly?: true;
  /** Only proxies that name it do it. */
  named?: true;
  load(against: Against): PinnedCommand;
  /** Reads what the load printed; throws where anything at all went wrong. */
  read(output: string): LoadResult;
};

const WRK_CONNECTIONS = 64;
const SOCKETS = 100;
const EVENT_MS = 10;
/** A stream outlives the seconds that are counted by its warm-up, and by what a busy machine is late. */
const STREAM_SLACK_MS = 6_000;
const COLD_REQUESTS = 1_000;
/** Half an hour after its start, a process that had no HTTP/2 meanwhile has lost the compiled code: the first requests cost three times as much. */
const H2_WAKE_REQUESTS = 100_000;
const PACE = 1_000;
/** Indices of the containers behind each upstream. */
const idsOf = ({ fixed, ids }: BenchWorld, to: "fixed" | "raw") => (to === "fixed" ? ([0, fixed] as const) : ([fixed, ids.length] as const));

/** `headerBytes`: of further request headers. `containers`: only the first of them. */
type WrkPlan = { to: "fixed" | "raw"; method: string; path: string; sends: number; comes: number; headerBytes?: number; containers?: number };

function wrk(name: string, says: string, plan: WrkPlan): Workload {
  return {
    name,
    says,
    unit: "request",
    to: plan.to,
    wakeRequests: 1,
    takesTurns: true,
    load: ({ world, port, pid, seconds }) => {
      const [first, last] = idsOf(world, plan.to);
      const numbers = [first, Math.min(last, first + (plan.containers ?? Infinity)), plan.sends, plan.headerBytes ?? 0].map(String);
      const argv = [world.folder, plan.method, plan.path, ...numbers, pid === undefined ? "" : PREFIX];
      const url = `http://127.0.0.1:${port}/`;
      const script = join(import.meta.dirname, "load/wrk.lua");
      return {
        argv: [
          "wrk",
          "-t1",
          `-c${WRK_CONNECTIONS}`,
          `-d${seconds === "endless" ? "1h" : `${seconds}s`}`,
          "--timeout",
          "60s",
          "-s",
          script,
          url,
          "--",
          ...argv,
        ],
      };
    },
    read: (output) => {
      const got = result(output) as { requests: number; bytes: number; us: number; p50: number; p99: number; failed: number; statuses: number };
      if (got.failed > 0) throw new Error(`${got.failed} connections failed`);
      if (got.statuses > 0) throw new Error(`${got.statuses} of ${got.requests} answers were refusals`);
      if (got.requests === 0) throw new Error("not one answer came");
      if (got.bytes < got.requests * plan.comes) throw new Error(`bodies were cut: ${got.bytes} bytes in ${got.requests} answers`);
      return { count: got.requests, seconds: got.us / 1e6, p50Us: got.p50, p99Us: got.p99 };
    },
  };
}

type OwnPlan = Pick<Workload, "to" | "unit" | "stream" | "fresh" | "takesTurns" | "berthOnly"> & {
  /** It lasts so long at least: its figure is the slowest hundredth of a slow pace. */
  leastSeconds?: number;
  load: string;
  path: string;
  connections: number;
  prefix?: string;
  bytes?: number;
  more?: string;
};

/** A load of our own, a process that reads the proxy's processor time itself. */
function own(name: string, says: string, plan: OwnPlan): Workload {
  const { to, unit, stream, fresh, takesTurns, berthOnly } = plan;
  return {
    name,
    says,
    unit,
    to,
    ...(stream && { stream }),
    ...(fresh && { fresh }),
    ...(takesTurns && { takesTurns }),
    ...(berthOnly && { berthOnly }),
    load: (against) => ownCommand(plan, against),
    read: (output) => result(output) as LoadResult,
  };
}

export function ownCommand(plan: Omit<OwnPlan, "unit">, { world, port, pid, streamMb, ...against }: Against): PinnedCommand {
  const seconds = against.seconds === "endless" ? 0 : Math.max(against.seconds, plan.leastSeconds ?? 0);
  const loadPlan: LoadPlan = {
    folder: world.folder,
    port,
    prefix: pid === undefined ? "" : (plan.prefix ?? PREFIX),
    path: plan.path.replace("{for}", String(seconds * 1_000 + STREAM_SLACK_MS)),
    ids: idsOf(world, plan.to),
    seconds,
    connections: plan.connections,
    bytes: plan.bytes ?? streamMb * 1_048_576,
    ...(pid === undefined ? {} : { pid }),
    ...(plan.more === undefined ? {} : { more: plan.more }),
    ...(against.seconds === "endless" && { endless: true }),
  };
  return { argv: [process.execPath, join(import.meta.dirname, "load", `${plan.load}.ts`), JSON.stringify(loadPlan)] };
}

function result(output: string): unknown {
  const text = /^RESULT (.*)$/m.exec(output)?.[1];
  if (text === undefined) throw new Error(/^FAILED (.*)$/m.exec(output)?.[1] ?? `the load printed: ${output.slice(-300)}`);
  return JSON.parse(text);
}

const stream = { load: "stream", to: "raw", unit: "GiB", stream: true, connections: 1 } as const;
const webSocket = {
  load: "websocket",
  to: "raw",
  unit: "message",
  path: "/ws",
  connections: SOCKETS,
  takesTurns: true,
} as const;

/** A small GET, whose head has so many bytes of further headers. */
export function smallGet(headerBytes: number): Workload {
  return wrk("get", "GET, 36 bytes", { to: "fixed", method: "GET", path: "/small", sends: 0, comes: 36, headerBytes });
}

/** In the order in which they are run and shown. */
export const WORKLOADS: readonly Workload[] = [
  smallGet(0),
  wrk("get64", "GET, 36 bytes, of 64 containers", {
    to: "fixed",
    method: "GET",
    path: "/small",
    sends: 0,
    comes: 36,
    containers: WRK_CONNECTIONS,
  }),
  wrk("get10k", "GET, 10 KiB", { to: "fixed", method: "GET", path: "/10k", sends: 0, comes: 10_240 }),
  wrk("post64k", "POST, 64 KiB", { to: "raw", method: "POST", path: "/sink", sends: 65_536, comes: 5 }),
  wrk("chunked", "GET, 64 chunks of 1 KiB", { to: "raw", method: "GET", path: "/chunked", sends: 0, comes: 65_536 }),
  own("sse", "events on 100 streams, 10 000 a second", {
    load: "events",
    to: "raw",
    unit: "event",
    path: `/sse?ms=${EVENT_MS}&for={for}`,
    connections: SOCKETS,
    more: String(EVENT_MS),
  }),
  own("ws125", "WebSocket echo, 125 bytes, 100 connections", { ...webSocket, bytes: 125 }),
  own("ws16k", "WebSocket echo, 16 KiB, 100 connections", { ...webSocket, bytes: 16_384 }),
  own("ws125-connected", "the same of 125 bytes on the route that says CONNECTED", {
    ...webSocket,
    bytes: 125,
    prefix: WS_PREFIX,
    more: "connected",
    berthOnly: true,
  }),
  own("up", "one long upload", { ...stream, path: "/sink", more: "up" }),
  own("upchunked", "one long upload, chunked", { ...stream, path: "/sink", more: "upchunked" }),
  own("down", "one long download", { ...stream, path: "/down", more: "down" }),
  own("paced", "GET, 36 bytes, 1 000 a second", {
    load: "paced",
    to: "fixed",
    unit: "request",
    path: "/small",
    connections: 32,
    bytes: PACE,
    leastSeconds: 3,
  }),
  own("cold", "the first 1 000 GETs of a new process", {
    load: "burst",
    to: "fixed",
    unit: "request",
    path: "/small",
    connections: WRK_CONNECTIONS,
    bytes: COLD_REQUESTS,
    fresh: true,
  }),
  {
    name: "get-h2",
    says: "GET, 36 bytes, HTTP/2 over TLS",
    unit: "request",
    to: "fixed",
    wakeRequests: H2_WAKE_REQUESTS,
    named: true,
    ...h2load,
  },
];

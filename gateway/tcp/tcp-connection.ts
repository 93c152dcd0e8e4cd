import type { Socket } from "node:net";
import { backoffDelay, scattered } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { addressBlock } from "../../lib/connection-limits.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { AccessRecord, type ExchangeObserver } from "../access-record.ts";
import { watchBroken } from "../connections/closing.ts";
import { type DialCounts, dialLease, type DialResult } from "../connections/dial.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { ContainerLease, Leases } from "../containers/lease.ts";
import type { Caller, ContainerView, Directory } from "../contract.ts";
import type { GatewayLimits } from "../limits.ts";
import { TcpSplice } from "./splice-tcp.ts";

export type TcpConnectionDeps = {
  directory: Directory;
  leases: Leases;
  connections: ConnectionFactory;
  dials: DialCounts;
  observer: ExchangeObserver;
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
};

/** A connection from its accept to its end. */
export type TcpConnection = {
  /** Resolves when it is closed. */
  over: Promise<void>;
  /** It is to end soon: at once if it is at rest, else after the container's response. One that waits for its container goes on waiting. */
  retire(): void;
  destroy(): void;
};

/** A connect that was refused may be repeated until the time for the hold is up. */
const RETRY = { firstMs: 200, longestMs: 5_000 };

/**
 * Holds a connection until its container is awake, and forwards it then. While it waits, nothing of the client is read: its bytes stay in the kernel's
 * buffers. If the container cannot be reached, the connection is reset, since every answer would have to be of the container's own protocol.
 */
export function openTcpConnection(
  deps: TcpConnectionDeps,
  { view, notForwarded }: { view: ContainerView; notForwarded(fault: Fault): void },
  socket: Socket,
): TcpConnection {
  const { clock, limits } = deps;
  const left = new AbortController();
  const client = deps.connections.adopt(socket);
  const address = client.remoteAddress;
  client.user = { ...IGNORED, onClose: () => left.abort(new Error("the client left")) };
  const record = new AccessRecord(deps.observer, clock, undefined, address);
  const caller: Caller = { token: "", userId: "", login: address, admin: false };
  const until = clock.monotonic() + limits.proxyRequestTimeoutMs;
  const lease = deps.leases.open({
    view,
    caller,
    share: `tcp ${addressBlock(address)}`,
    kind: "tcp",
    isProbe: false,
    until,
    request: { signal: left.signal },
  });
  record.decided({ route: "tcp", container: view.name, answers: lease.answers });
  let splice: TcpSplice | undefined;
  let isRetiring = false;
  let unwatch = () => {};

  const retire = () => {
    isRetiring = true;
    splice?.retire();
  };
  const forward = async () => {
    // A client that waits is not read.
    const cancelCheck = watchBroken(client, clock, () => client.reset());
    const { socket: connected, target, connectMs } = await connect(deps, lease, { until, signal: left.signal }).finally(cancelCheck);
    const container = deps.connections.adopt(connected, { readToEnd: true });
    record.answered(101);
    record.connected(connectMs);
    record.held(clock.monotonic() - record.startedAt - connectMs);
    if (lease.woken() !== undefined) lease.reportConnected(connectMs);
    const refused = (fault: Fault) => {
      record.failed(fault.code);
      notForwarded(fault);
    };
    splice = new TcpSplice({ ...deps, client, container, lease, record, refused });
    unwatch = lease.onTargetGone(target, () => {
      const now = deps.directory.cached(view.id, caller);
      // While control verifies the address, the connection proves by itself whose it is: another container would reset it.
      if (isChecked(now)) return;
      if (isReplaced(now)) splice?.destroy();
      else retire();
    });
    if (isRetiring) splice.retire();
    await splice.over;
    record.finish("answered");
  };
  const fail = (error: unknown) => {
    if (left.signal.aborted) return record.finish("left");
    const fault = error instanceof Fault ? error : undefined;
    if (fault === undefined) deps.log.error({ err: error }, "TCP connection failed: internal error");
    else notForwarded(fault);
    record.failed(fault?.code ?? "INTERNAL");
    record.answered(fault?.status ?? 500);
    record.finish("answered");
  };
  const over = forward()
    .catch(fail)
    .finally(() => {
      unwatch();
      lease.release();
      client.reset();
    });
  return { over, retire, destroy: () => (splice === undefined ? client.reset() : splice.destroy()) };
}

const IGNORED = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined };

/** Connects once the container is awake. A refused connect marks the address as suspect; then it waits and tries again. */
async function connect(
  { clock, limits, dials }: TcpConnectionDeps,
  lease: ContainerLease,
  { until, signal }: { until: number; signal: AbortSignal },
): Promise<DialResult> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await dialLease(lease, { clock, limits, signal, dials });
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== "CONTAINER_UNREACHABLE" || clock.monotonic() >= until) throw error;
    }
    await clock.sleep(Math.min(scattered(backoffDelay(RETRY, attempts)), Math.max(0, until - clock.monotonic())), signal);
  }
}

function isChecked(view: ContainerView | undefined): boolean {
  return view?.availability.kind === "coming" && view.availability.step === "check";
}

/** The instance at the address is gone for certain: a machine that failed would never end its connections. */
function isReplaced(view: ContainerView | undefined): boolean {
  if (view === undefined) return true;
  const { availability } = view;
  return availability.kind === "awake" || (availability.kind === "coming" && availability.step === "start");
}

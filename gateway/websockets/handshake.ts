import { createHash, randomBytes } from "node:crypto";
import { Fault } from "../../lib/fault.ts";
import type { Forward, HeaderLine, Lease, HeaderEdits } from "../decision.ts";
import type { NetConnection } from "../connections/connection.ts";
import { headText } from "../direct-responses.ts";

/** Proves that the other side supports WebSockets (RFC 6455 §4.2.2). */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The first subprotocol that the client offers: only this one is accepted, and offered to the container. */
function offeredProtocol(request: UpgradeRequestHead): string | undefined {
  const first = request.header("sec-websocket-protocol")?.split(",")[0]?.trim();
  return first === "" ? undefined : first;
}

/** The head of a request is a complete WebSocket handshake. */
export function isHandshake(request: UpgradeRequestHead): boolean {
  return request.header("sec-websocket-version") === "13" && /^[A-Za-z0-9+/]{22}==$/.test(request.header("sec-websocket-key") ?? "");
}

/** Accepts the client's upgrade, without extensions, so that frames can be forwarded unchanged. */
export function acceptUpgrade(request: UpgradeRequestHead, client: NetConnection): void {
  const protocol = offeredProtocol(request);
  client.sendText(
    headText(101, "Switching Protocols", [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", acceptFor(request.header("sec-websocket-key") ?? "")],
      ...(protocol === undefined ? [] : [["Sec-WebSocket-Protocol", protocol] as const]),
    ]),
  );
}

type UpgradeOptions = { request: UpgradeRequestHead; forward: Forward; lease: Lease; upgrade: UpgradeContainer; signal: AbortSignal };

/**
 * Requests the client's WebSocket of the container. Any failure, an abort included, destroys the connection.
 * Faults: CONTAINER_REFUSED_UPGRADE, WEBSOCKET_MISMATCH, and those of `upgrade`.
 */
export async function upgradeContainer({
  request,
  forward,
  lease,
  upgrade,
  signal,
}: UpgradeOptions): Promise<{ container: NetConnection; rest: Buffer }> {
  const key = randomBytes(16).toString("base64");
  const protocol = offeredProtocol(request);
  const response = await upgrade({
    lease,
    target: forward.target,
    lines: handshakeLines(request, forward, key, protocol),
    headTimeoutMs: forward.headTimeoutMs,
    signal,
  });
  const refusal = refusalIn(response, key, protocol);
  if (refusal === undefined) return response;
  response.container.destroy();
  throw refusal;
}

function refusalIn(response: ContainerUpgradeResponse, key: string, offered: string | undefined): Fault | undefined {
  const { status, reason, switched } = response;
  if (!switched) return new Fault("CONTAINER_REFUSED_UPGRADE", `The container answered ${status} ${reason} instead of a WebSocket`);
  if (response.header("sec-websocket-accept") !== acceptFor(key))
    return new Fault("CONTAINER_REFUSED_UPGRADE", "The container's handshake is not one of a WebSocket");
  const agreed = response.header("sec-websocket-protocol");
  if (response.header("sec-websocket-extensions") !== undefined || (agreed !== undefined && agreed !== offered))
    return new Fault("WEBSOCKET_MISMATCH", "The container agreed to a subprotocol or an extension that was not offered");
  return undefined;
}

function handshakeLines(request: UpgradeRequestHead, forward: Forward, key: string, protocol: string | undefined): HeaderLine[] {
  const lines: HeaderLine[] = [
    ...request.lines(forward.request).filter(([name]) => !name.toLowerCase().startsWith("sec-websocket-")),
    ["Connection", "Upgrade"],
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", key],
  ];
  return protocol === undefined ? lines : [...lines, ["Sec-WebSocket-Protocol", protocol]];
}

function acceptFor(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/** The head of an upgrade request, of either engine. */
export type UpgradeRequestHead = {
  header(name: string): string | undefined;
  /** The forwarded lines in their own order and case, and those that `edits` add. */
  lines(edits: HeaderEdits): HeaderLine[];
};

export type ContainerUpgradeRequest = {
  lease: Lease;
  /** The request target to send, byte for byte. */
  target: string;
  lines: readonly HeaderLine[];
  headTimeoutMs: number;
  signal: AbortSignal;
};

/** The receiver owns the connection. */
export type ContainerUpgradeResponse = {
  status: number;
  reason: string;
  header(name: string): string | undefined;
  /** False: the container refused, and the connection must be destroyed. */
  switched: boolean;
  /** Paused, without a user. */
  container: NetConnection;
  /** Bytes after the 101. */
  rest: Buffer;
};

/**
 * Connects to the lease's target and requests an upgrade. Any failure, an abort included, destroys the connection.
 * Faults: CONTAINER_UNREACHABLE, CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT, and those of the lease.
 */
export type UpgradeContainer = (request: ContainerUpgradeRequest) => Promise<ContainerUpgradeResponse>;

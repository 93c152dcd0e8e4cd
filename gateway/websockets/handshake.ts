import { createHash, randomBytes } from "node:crypto";
import { Fault } from "../../lib/fault.ts";
import type { Forward, HeaderLine, Lease, HeaderEdits } from "../decision.ts";
import type { NetConnection } from "../connections/connection.ts";
import { headText } from "../direct-responses.ts";

/** RFC 6455 §4.2.2: what proves that the other side speaks WebSocket. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The first subprotocol that a client offers: the only one echoed and offered on. */
export function offeredProtocol(asked: UpgradeRequestHead): string | undefined {
  const first = asked.header("sec-websocket-protocol")?.split(",")[0]?.trim();
  return first === "" ? undefined : first;
}

/** True where the head of a request is a complete WebSocket handshake. */
export function isHandshake(asked: UpgradeRequestHead): boolean {
  return asked.header("sec-websocket-version") === "13" && /^[A-Za-z0-9+/]{22}==$/.test(asked.header("sec-websocket-key") ?? "");
}

/** Accepts the client's upgrade; no extension is taken on, so that frames can be passed on as they are. */
export function acceptUpgrade(asked: UpgradeRequestHead, client: NetConnection): void {
  const protocol = offeredProtocol(asked);
  client.sendText(
    headText(101, "Switching Protocols", [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", acceptFor(asked.header("sec-websocket-key") ?? "")],
      ...(protocol === undefined ? [] : [["Sec-WebSocket-Protocol", protocol] as const]),
    ]),
  );
}

export type UpgradeOptions = { request: UpgradeRequestHead; forward: Forward; lease: Lease; upgrade: UpgradeContainer; signal: AbortSignal };

/**
 * Asks the container for the WebSocket that the client asked us for. Whatever rejects, an abort too, destroys the connection.
 * Faults: CONTAINER_REFUSED_UPGRADE, WEBSOCKET_MISMATCH, and those of `askContainer`.
 */
export async function upgradeContainer({
  request: asked,
  forward,
  lease,
  upgrade: askContainer,
  signal,
}: UpgradeOptions): Promise<{ container: NetConnection; rest: Buffer }> {
  const key = randomBytes(16).toString("base64");
  const protocol = offeredProtocol(asked);
  const answer = await askContainer({
    lease,
    target: forward.target,
    lines: handshakeLines(asked, forward, key, protocol),
    headTimeoutMs: forward.headTimeoutMs,
    signal,
  });
  const refusal = refusalIn(answer, key, protocol);
  if (refusal === undefined) return answer;
  answer.container.destroy();
  throw refusal;
}

function refusalIn(answer: ContainerUpgradeResponse, key: string, offered: string | undefined): Fault | undefined {
  const { status, reason, switched } = answer;
  if (!switched) return new Fault("CONTAINER_REFUSED_UPGRADE", `The container answered ${status} ${reason} instead of a WebSocket`);
  if (answer.header("sec-websocket-accept") !== acceptFor(key))
    return new Fault("CONTAINER_REFUSED_UPGRADE", "The container's handshake is not one of a WebSocket");
  const agreed = answer.header("sec-websocket-protocol");
  if (answer.header("sec-websocket-extensions") !== undefined || (agreed !== undefined && agreed !== offered))
    return new Fault("WEBSOCKET_MISMATCH", "The container agreed to a subprotocol or an extension that was not offered");
  return undefined;
}

function handshakeLines(asked: UpgradeRequestHead, forward: Forward, key: string, protocol: string | undefined): HeaderLine[] {
  const lines: HeaderLine[] = [
    ...asked.lines(forward.request).filter(([name]) => !name.toLowerCase().startsWith("sec-websocket-")),
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

/** The head of a request for an upgrade, as either engine has it. */
export type UpgradeRequestHead = {
  header(name: string): string | undefined;
  /** The lines that travel on, in their own order and case, and those that `edits` add. */
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

/** What the container said. Whoever gets it has its connection. */
export type ContainerUpgradeResponse = {
  status: number;
  reason: string;
  header(name: string): string | undefined;
  /** False where it refused: of such a connection nobody needs more than to destroy it. */
  switched: boolean;
  /** Paused, and nobody's. */
  container: NetConnection;
  /** What came right behind the 101. */
  rest: Buffer;
};

/**
 * Connects to where the lease leads and asks there for an upgrade. Whatever rejects, an abort too, destroys the connection.
 * Faults: CONTAINER_UNREACHABLE, CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT, and the lease's own.
 */
export type UpgradeContainer = (ask: ContainerUpgradeRequest) => Promise<ContainerUpgradeResponse>;

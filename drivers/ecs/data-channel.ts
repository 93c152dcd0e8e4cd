import { createHash, randomUUID } from "node:crypto";
import type { Session } from "@aws-sdk/client-ecs";
import WebSocket from "ws";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { advisedFault } from "../faults.ts";
import { unanswered } from "./faults.ts";

/** Payload types of stream messages, by https://github.com/aws/session-manager-plugin/blob/mainline/src/message/clientmessage.go. */
export const PAYLOADS = { output: 1, error: 2, size: 3, handshakeRequest: 5, handshakeResponse: 6, handshakeComplete: 7, stderr: 11 } as const;
const OUTPUTS: readonly number[] = [PAYLOADS.output, PAYLOADS.error, PAYLOADS.stderr];
/** The plugin's version whose protocol this is. */
const CLIENT_VERSION = "1.2.0.0";
const SUCCESS = 1;
const UNSUPPORTED = 3;

/** A message of the data channel. Numbers are big-endian, its type is padded with spaces, and the halves of its id are swapped. */
const OFFSETS = { type: 4, version: 36, created: 40, sequence: 48, flags: 56, id: 64, digest: 80, payloadType: 112, payloadLength: 116 } as const;
const HEADER_BYTES = 120;
export type ChannelMessage = { type: string; sequence: number; id: string; payloadType: number; payload: Buffer };

/** A message of one kilobyte of payload, as the plugin and the agent send them. */
const CHUNK_BYTES = 1_024;
/** So many messages wait for their acknowledgement, which the agent sends when the command's terminal has taken them. */
const WINDOW = 64;
/** Messages that came before an earlier one, at most. */
const MOST_EARLY = 256;
/** The agent sends a kilobyte at a time, and its session's other end may be a user of the container. */
const MAX_MESSAGE_BYTES = 65_536;
const CONNECT_MS = 10_000;
/** A message without an acknowledgement is sent again after this time, and then after twice as long. */
const RESEND_MS = { first: 1_000, longest: 8_000 };
/** Two of them without an answer: the connection is broken. */
const PING_MS = 30_000;

export type DataChannel = {
  /** What the command's terminal shows, in order. To be read once. Ends with the session or its connection. While it is not read, nothing is. */
  output: AsyncGenerator<Buffer>;
  /** Resolves when more may be sent. */
  send(payloadType: number, bytes: Uint8Array): Promise<void>;
  /** Undefined while it is open. `message`: AWS's own; `fault`: the connection broke, or berth does not speak what the agent requests. */
  end(): { message: string; fault?: undefined } | { fault: Fault } | undefined;
  close(): void;
};

/**
 * The client's end of a session's data channel of AWS Systems Manager: numbered messages, each with its SHA-256, in order, acknowledged, and sent again
 * until they are. The session's token is in no message of berth's. Faults: ENGINE_UNREACHABLE.
 */
export async function openDataChannel(
  session: Session,
  { clock, doing, isRunning, signal }: { clock: Clock; doing: string; isRunning: () => Promise<boolean>; signal: AbortSignal },
): Promise<DataChannel> {
  const socket = await connect(session, doing, signal);
  const unacknowledged = new Map<number, { bytes: Buffer; sentOn: number; waitMs: number }>();
  const early = new Map<number, ChannelMessage>();
  const waiting: Buffer[] = [];
  let [nextSequence, expected] = [0, 0];
  const state: { isPaused: boolean; isAnswered: boolean; end: ReturnType<DataChannel["end"]> } = {
    isPaused: false,
    isAnswered: true,
    end: undefined,
  };
  let change = Promise.withResolvers<void>();
  const notify = () => {
    change.resolve();
    change = Promise.withResolvers();
  };

  const finish = (how: NonNullable<ReturnType<DataChannel["end"]>>) => {
    if (state.end) return;
    state.end = how;
    cancelTick();
    socket.terminate();
    notify();
  };
  const breakOff = (why: string) => finish({ fault: unanswered("a session of Systems Manager", `${doing}: ${why}`) });

  const post = (payloadType: number, payload: Uint8Array) => {
    const bytes = encodeMessage({ type: "input_stream_data", sequence: nextSequence, created: clock.now(), payloadType, payload });
    unacknowledged.set(nextSequence++, { bytes, sentOn: clock.monotonic(), waitMs: RESEND_MS.first });
    socket.send(bytes);
  };
  const acknowledge = ({ type, id, sequence }: ChannelMessage) => {
    const content = {
      AcknowledgedMessageType: type,
      AcknowledgedMessageId: id,
      AcknowledgedMessageSequenceNumber: sequence,
      IsSequentialMessage: true,
    };
    const payload = Buffer.from(JSON.stringify(content));
    socket.send(encodeMessage({ type: "acknowledge", sequence: 0, created: clock.now(), flags: 3, payloadType: 0, payload }));
  };

  /** Only a session that is encrypted, or that is no terminal, has a handshake. */
  const answerHandshake = (payload: Buffer) => {
    const { RequestedClientActions: actions = [] } = objectIn(payload) as { RequestedClientActions?: { ActionType?: string }[] };
    const unknown = actions.find(({ ActionType: type }) => type !== "SessionType");
    const processed = actions.map(({ ActionType }) =>
      ActionType === "SessionType"
        ? { ActionType, ActionStatus: SUCCESS, ActionResult: null, Error: "" }
        : { ActionType, ActionStatus: UNSUPPORTED, ActionResult: null, Error: `Unsupported action ${ActionType}` },
    );
    const errors = processed.flatMap(({ Error }) => Error || []);
    post(
      PAYLOADS.handshakeResponse,
      Buffer.from(JSON.stringify({ ClientVersion: CLIENT_VERSION, ProcessedClientActions: processed, Errors: errors })),
    );
    if (!unknown) return;
    const todo = "Remove `kmsKeyId` from the cluster's executeCommandConfiguration, or run `aws ecs execute-command`.";
    const sentence = `${doing}: the cluster encrypts its sessions (${unknown.ActionType}), which berth does not do`;
    finish({ fault: advisedFault("EXEC_UNAVAILABLE", sentence, { todo }) });
  };
  const take = (message: ChannelMessage) => {
    expected++;
    if (message.payloadType === PAYLOADS.handshakeRequest) return answerHandshake(message.payload);
    if (!OUTPUTS.includes(message.payloadType) || message.payload.length === 0) return;
    waiting.push(message.payload);
    socket.pause();
    notify();
  };
  const receiveStream = (message: ChannelMessage) => {
    state.isPaused = false;
    // The agent sends again what it has no acknowledgement for.
    if (message.sequence > expected && early.size >= MOST_EARLY) return;
    acknowledge(message);
    if (message.sequence > expected) early.set(message.sequence, message);
    else if (message.sequence === expected) take(message);
    for (let next = early.get(expected); next; next = early.get(expected)) {
      early.delete(expected);
      take(next);
    }
  };
  const HANDLERS: Record<string, (message: ChannelMessage) => void> = {
    output_stream_data: receiveStream,
    acknowledge: ({ payload }) => {
      state.isPaused = false;
      unacknowledged.delete((objectIn(payload) as { AcknowledgedMessageSequenceNumber?: number }).AcknowledgedMessageSequenceNumber ?? -1);
      notify();
    },
    channel_closed: ({ payload }) => finish({ message: (objectIn(payload) as { Output?: string }).Output ?? "" }),
    pause_publication: () => (state.isPaused = true),
    start_publication: () => {
      state.isPaused = false;
      notify();
    },
  };
  socket.on("message", (data: Buffer) => {
    // Its pong may wait behind output that was not read.
    state.isAnswered = true;
    const message = decodeMessage(data);
    if (message && !state.end) HANDLERS[message.type]?.(message);
  });
  socket.on("pong", () => (state.isAnswered = true));
  socket.on("error", (error) => breakOff(error.message));
  socket.once("close", () => breakOff("the connection ended before the session"));

  let pingedOn = clock.monotonic();
  const tick = () => {
    const now = clock.monotonic();
    cancelTick = clock.after(RESEND_MS.first / 2, tick);
    const [oldest] = unacknowledged.values();
    // Acknowledgements wait behind output that is not read.
    if (oldest && !state.isPaused && !socket.isPaused && now - oldest.sentOn >= oldest.waitMs) {
      oldest.sentOn = now;
      oldest.waitMs = Math.min(oldest.waitMs * 2, RESEND_MS.longest);
      socket.send(oldest.bytes);
    }
    if (now - pingedOn < PING_MS) return;
    if (!state.isAnswered && !socket.isPaused) return breakOff("the connection does not answer");
    pingedOn = now;
    state.isAnswered = false;
    socket.ping();
    // AWS may keep a session open whose task has ended.
    isRunning().then((runs) => !runs && finish({ message: "its task has ended" }), () => {}); // prettier-ignore
  };
  let cancelTick = clock.after(RESEND_MS.first / 2, tick);

  async function* read(): AsyncGenerator<Buffer> {
    for (;;) {
      const bytes = waiting.shift();
      if (bytes) yield bytes;
      else if (state.end) return;
      else {
        const { promise } = change;
        socket.resume();
        await promise;
      }
    }
  }
  return {
    output: read(),
    send: async (payloadType, bytes) => {
      for (let at = 0; at < bytes.length && !state.end; at += CHUNK_BYTES) {
        while (!state.end && (state.isPaused || unacknowledged.size >= WINDOW)) await change.promise;
        if (!state.end) post(payloadType, bytes.subarray(at, at + CHUNK_BYTES));
      }
    },
    end: () => state.end,
    close: () => finish({ message: "" }),
  };
}

/** Its first message shows the token to the service. */
async function connect({ streamUrl = "", tokenValue = "" }: Session, doing: string, signal: AbortSignal): Promise<WebSocket> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  const unreachable = (why: string) => unanswered("a session of Systems Manager", `${doing}: ${why}`);
  // Its address is AWS's own, and not for messages.
  if (!URL.canParse(streamUrl)) throw unreachable("the service gave no address");
  const socket = new WebSocket(streamUrl, { perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES, handshakeTimeout: CONNECT_MS });
  const abort = () => {
    reject(signal.reason as Error);
    socket.terminate();
  };
  signal.addEventListener("abort", abort);
  socket.once("open", () => {
    // Nothing is lost before it is read.
    socket.pause();
    const request = {
      MessageSchemaVersion: "1.0",
      RequestId: randomUUID(),
      TokenValue: tokenValue,
      ClientId: randomUUID(),
      ClientVersion: CLIENT_VERSION,
    };
    socket.send(JSON.stringify(request));
    resolve(socket);
  });
  socket.on("error", (error: NodeJS.ErrnoException) => reject(unreachable(error.code ?? error.message)));
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

/** `created` in epoch ms. `flags`: 1 for the first message of a stream, 2 for its last. */
export function encodeMessage(message: Omit<ChannelMessage, "id" | "payload"> & { created: number; flags?: number; payload: Uint8Array }): Buffer {
  const { type, sequence, created, flags = 0, payloadType, payload } = message;
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes.writeUInt32BE(OFFSETS.payloadLength, 0);
  bytes.write(type.padEnd(OFFSETS.version - OFFSETS.type), OFFSETS.type, "latin1");
  bytes.writeUInt32BE(1, OFFSETS.version);
  bytes.writeBigUInt64BE(BigInt(created), OFFSETS.created);
  bytes.writeBigInt64BE(BigInt(sequence), OFFSETS.sequence);
  bytes.writeBigUInt64BE(BigInt(flags), OFFSETS.flags);
  const id = Buffer.from(randomUUID().replaceAll("-", ""), "hex");
  id.copy(bytes, OFFSETS.id, 8, 16);
  id.copy(bytes, OFFSETS.id + 8, 0, 8);
  createHash("sha256").update(payload).digest().copy(bytes, OFFSETS.digest);
  bytes.writeUInt32BE(payloadType, OFFSETS.payloadType);
  bytes.writeUInt32BE(payload.length, OFFSETS.payloadLength);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** Undefined if it is no message, or not the one that was sent. */
export function decodeMessage(bytes: Buffer): ChannelMessage | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const payload = bytes.subarray(bytes.readUInt32BE(0) + 4);
  const digest = bytes.subarray(OFFSETS.digest, OFFSETS.payloadType);
  if (payload.length !== bytes.readUInt32BE(OFFSETS.payloadLength)) return undefined;
  if (payload.length > 0 && !createHash("sha256").update(payload).digest().equals(digest)) return undefined;
  const id = Buffer.concat([bytes.subarray(OFFSETS.id + 8, OFFSETS.id + 16), bytes.subarray(OFFSETS.id, OFFSETS.id + 8)]).toString("hex");
  return {
    // The agent pads with spaces, others may with zeros.
    type: bytes.toString("latin1", OFFSETS.type, OFFSETS.version).replaceAll("\0", "").trim(),
    sequence: Number(bytes.readBigInt64BE(OFFSETS.sequence)),
    id: id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
    payloadType: bytes.readUInt32BE(OFFSETS.payloadType),
    payload,
  };
}

/** An empty object for what is no JSON. */
function objectIn(payload: Buffer): object {
  const value = parseJson(payload.toString());
  return typeof value === "object" && value !== null ? value : {};
}

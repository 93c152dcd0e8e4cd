// Sessions of AWS Systems Manager as ECS Exec opens them: the service's data channels, and the agent within a task, which runs commands in terminals. It
// is written from the sources of AWS's agent (aws/amazon-ssm-agent, agent/session) and of its client (aws/session-manager-plugin), and does what they
// do: messages with a wrong digest count for nothing, those before an earlier one wait, each is sent again until it is acknowledged.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { isAbsolute, join } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Test } from "tap";
import { type WebSocket, WebSocketServer } from "ws";

const TERMINAL = join(import.meta.dirname, "../../fixtures/terminal.py");
/** Of the agent: StreamDataPayloadSize, ResendSleepInterval, DefaultTransmissionTimeout. */
const CHUNK_BYTES = 1_024;
const RESEND_EVERY_MS = 100;
const RESEND_AFTER_MS = 200;
/** How long the agent waits at the end until everything is acknowledged. */
const LAST_ACKNOWLEDGEMENTS_MS = 2_000;
const MOST_UNSENT = 65_536;

/** Where a command runs: as a process beside that of its container. */
export type ExecPlaceOfTask = { env: Record<string, string>; cwd: string; hasShell: boolean; ended: Promise<unknown> };

type WireMessage = { type: string; sequence: number; id: string; payloadType: number; payload: Buffer };

/** How the way between client and agent is worse than usual: what is sent instead of a message. */
export type ChannelTroubles = {
  toClient(bytes: Buffer): Buffer[];
  toAgent(bytes: Buffer): Buffer[];
  /** The agent requests that sessions are encrypted. */
  encrypts: boolean;
  /** The agent begins with a handshake, as it does for some kinds of sessions. */
  handshakes: boolean;
};

export async function openExecSessions(t: Test) {
  const sessions = new Map<string, { token: string; agent: AgentSession; isOpened: boolean }>();
  const server = createServer((_, response) => void response.writeHead(426).end());
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  const troubles: ChannelTroubles = { toClient: (bytes) => [bytes], toAgent: (bytes) => [bytes], encrypts: false, handshakes: false };
  const clients = new Set<WebSocket>();
  /** What the agent counts for nothing. */
  const rejected: string[] = [];

  sockets.on("connection", (client, request) => {
    clients.add(client);
    client.on("error", () => client.terminate());
    client.once("close", () => clients.delete(client));
    const id = /^\/v1\/data-channel\/([\w-]+)\?role=publish_subscribe$/.exec(request.url ?? "")?.[1] ?? "";
    client.once("message", (data: Buffer, isBinary: boolean) => {
      const session = sessions.get(id);
      if (!session || isBinary || session.isOpened || !opens(data, session.token)) return client.close(1008);
      session.isOpened = true;
      relay(client, session.agent, troubles);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(async () => {
    for (const { agent } of sessions.values()) agent.end();
    sockets.close();
    server.closeAllConnections();
    server.close();
    for (const { agent } of sessions.values()) await agent.gone();
  });
  return {
    troubles,
    rejected,
    tokens: () => [...sessions.values()].map(({ token }) => token),
    /** Commands that run. */
    running: () => [...sessions.values()].filter(({ agent }) => agent.runs()).length,
    /** Bytes of output that agents have sent. */
    sent: () => [...sessions.values()].reduce((sum, { agent }) => sum + agent.sent(), 0),
    /** Breaks every connection of clients. Their sessions stay, and so do commands. */
    breakOff: () => clients.forEach((client) => client.terminate()),
    start: (command: string, place: ExecPlaceOfTask) => {
      const id = `ecs-execute-command-${randomBytes(9).toString("hex").slice(0, 17)}`;
      const token = randomBytes(96).toString("base64");
      const agent = openAgent(splitCommand(command), place, troubles, (why) => rejected.push(why));
      sessions.set(id, { token, agent, isOpened: false });
      const { port } = server.address() as AddressInfo;
      return { sessionId: id, tokenValue: token, streamUrl: `ws://127.0.0.1:${port}/v1/data-channel/${id}?role=publish_subscribe` };
    },
  };
}

export type ExecSessions = Awaited<ReturnType<typeof openExecSessions>>;

/** The first message of a client, with the token: OpenDataChannelInput, each field of which is required. */
function opens(data: Buffer, token: string): boolean {
  try {
    const sent = JSON.parse(data.toString()) as Record<string, unknown>;
    const has = (name: string, least = 1) => typeof sent[name] === "string" && sent[name].length >= least;
    return has("MessageSchemaVersion") && has("RequestId", 16) && has("ClientId") && has("ClientVersion") && sent["TokenValue"] === token;
  } catch {
    return false;
  }
}

/** The service in the middle: it hands messages on as they come, and holds the agent back where the client does not read. */
function relay(client: WebSocket, agent: AgentSession, troubles: ChannelTroubles): void {
  const send = async (bytes: Buffer) => {
    for (const one of troubles.toClient(bytes)) {
      if (client.readyState !== client.OPEN) return;
      const sent = new Promise<void>((resolve) => client.send(one, () => resolve()));
      if (client.bufferedAmount > MOST_UNSENT) await sent;
    }
  };
  const queue: Buffer[] = [];
  let isBusy = false;
  const handOn = async () => {
    isBusy = true;
    client.pause();
    for (let next = queue.shift(); next; next = queue.shift()) for (const one of troubles.toAgent(next)) await agent.receive(one);
    client.resume();
    isBusy = false;
  };
  client.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) queue.push(data);
    if (!isBusy) void handOn();
  });
  client.once("close", () => agent.pause());
  const closeChannel = async () => {
    const Output = await agent.over;
    const closed = {
      MessageType: "channel_closed",
      MessageId: randomUUID(),
      DestinationId: "task",
      SessionId: "session",
      SchemaVersion: 1,
      Output,
    };
    await send(encode({ type: "channel_closed", sequence: 0, payloadType: 0, payload: Buffer.from(JSON.stringify(closed)) }));
    client.close(1000);
  };
  void closeChannel();
  void send(encode({ type: "start_publication", sequence: 0, payloadType: 0, payload: Buffer.alloc(0) }));
  agent.start(send);
}

type AgentSession = ReturnType<typeof openAgent>;

/** The agent's end of a session of the plugin InteractiveCommands. */
function openAgent(words: string[], { env, cwd, hasShell, ended }: ExecPlaceOfTask, troubles: ChannelTroubles, reject: (why: string) => void) {
  const [program = "", ...args] = words;
  const over = Promise.withResolvers<string>();
  const unacknowledged = new Map<number, { bytes: Buffer; sentOn: number }>();
  const early = new Map<number, WireMessage>();
  let [nextSequence, expected, sent] = [0, 0, 0];
  let send: (bytes: Buffer) => Promise<void> = async () => {};
  let child: ChildProcess | undefined;
  let isOver = false;
  let awake = Promise.withResolvers<void>();
  const wakefulness = { isAwake: false };
  let handshake: { complete: boolean; answered: PromiseWithResolvers<void> } | undefined;

  const wake = () => {
    wakefulness.isAwake = true;
    awake.resolve();
  };
  const pause = () => {
    wakefulness.isAwake = false;
    awake = Promise.withResolvers();
  };
  const stream = async (payloadType: number, payload: Buffer) => {
    // As the agent ignores an empty payload.
    if (payload.length === 0) return;
    const sequence = nextSequence++;
    sent += payload.length;
    const bytes = encode({ type: "output_stream_data", sequence, flags: sequence === 0 ? 1 : 0, payloadType, payload });
    unacknowledged.set(sequence, { bytes, sentOn: performance.now() });
    if (wakefulness.isAwake) await send(bytes);
  };
  const resend = setInterval(() => {
    const [oldest] = unacknowledged.values();
    if (!wakefulness.isAwake || !oldest || performance.now() - oldest.sentOn < RESEND_AFTER_MS) return;
    oldest.sentOn = performance.now();
    void send(oldest.bytes);
  }, RESEND_EVERY_MS);
  // Of a session that none has ended.
  resend.unref();

  const finish = async (output: string) => {
    if (isOver) return;
    isOver = true;
    const until = performance.now() + LAST_ACKNOWLEDGEMENTS_MS;
    while (unacknowledged.size > 0 && wakefulness.isAwake && performance.now() < until) await sleep(10);
    clearInterval(resend);
    over.resolve(output);
  };
  const end = () => {
    child?.stdin?.end();
    // What its client has left unread is read by none.
    if (!wakefulness.isAwake) child?.stdout?.destroy();
    if (!child) void finish("");
  };
  void ended.then(end);

  /** Undefined: it is not ready for that, and sends no acknowledgement. */
  const take = async ({ payloadType, payload }: WireMessage): Promise<true | undefined> => {
    if (payloadType === 6) {
      const { ProcessedClientActions: actions } = JSON.parse(payload.toString()) as {
        ProcessedClientActions: { ActionType: string; ActionStatus: number; Error: string }[];
      };
      const failed = actions.find(({ ActionStatus }) => ActionStatus !== 1);
      if (failed) void finish(`${failed.ActionType} failed on client with status ${failed.ActionStatus} error: ${failed.Error}`);
      handshake?.answered.resolve();
      return true;
    }
    if (handshake && !handshake.complete) return true;
    if (!child?.stdin) return isOver ? true : undefined;
    const { stdin: input } = child;
    if (payloadType === 3) {
      const { cols, rows } = JSON.parse(payload.toString()) as { cols: number; rows: number };
      (child.stdio[3] as Writable).write(`${cols} ${rows}\n`);
    }
    // Called at the end of the input too.
    if (payloadType === 1 && input.writable) await new Promise<void>((resolve) => void input.write(payload, () => resolve()));
    return true;
  };
  const acknowledge = async ({ type, id, sequence }: WireMessage) => {
    const content = {
      AcknowledgedMessageType: type,
      AcknowledgedMessageId: id,
      AcknowledgedMessageSequenceNumber: sequence,
      IsSequentialMessage: true,
    };
    await send(encode({ type: "acknowledge", sequence: 0, flags: 3, payloadType: 0, payload: Buffer.from(JSON.stringify(content)) }));
  };
  const receiveInput = async (message: WireMessage) => {
    if (message.sequence > expected) early.set(message.sequence, message);
    else if (message.sequence === expected && !(await take(message))) return;
    await acknowledge(message);
    if (message.sequence !== expected) return;
    expected++;
    for (let next = early.get(expected); next; next = early.get(expected)) {
      early.delete(expected);
      await take(next);
      expected++;
    }
  };

  const run = async () => {
    if (troubles.handshakes || troubles.encrypts) {
      handshake = { complete: false, answered: Promise.withResolvers() };
      const session = { ActionType: "SessionType", ActionParameters: { SessionType: "InteractiveCommands", Properties: null } };
      const key = { ActionType: "KMSEncryption", ActionParameters: { KMSKeyId: "arn:aws:kms:eu-west-1:123456789012:key/1", Challenge: "c" } };
      const request = { AgentVersion: "3.3.0.0", RequestedClientActions: troubles.encrypts ? [session, key] : [session] };
      await stream(5, Buffer.from(JSON.stringify(request)));
      await handshake.answered.promise;
      handshake.complete = true;
      await stream(7, Buffer.from(JSON.stringify({ HandshakeTimeToComplete: 1_000_000, CustomerMessage: "" })));
    }
    if (isOver) return;
    if (isAbsolute(program) && (!existsSync(program) || (program === "/bin/sh" && !hasShell)))
      return finish(`Unable to start command: Failed to start pty: fork/exec ${program}: no such file or directory\n`);
    child = spawn("/usr/bin/python3", [TERMINAL, program, ...args], {
      cwd,
      env: { ...env, TERM: "xterm-256color", LANG: env["LANG"] ?? "C.UTF-8" },
      stdio: ["pipe", "pipe", "ignore", "pipe"],
    });
    for (const one of [child.stdin, child.stdio[3]]) (one as Writable).on("error", () => {});
    let tail: Buffer = Buffer.alloc(0);
    for await (const bytes of child.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        await awake.promise;
        const [text, rest] = asText(Buffer.concat([tail, bytes.subarray(at, at + CHUNK_BYTES)]));
        tail = rest;
        await stream(1, text);
      }
    }
    return finish("");
  };

  return {
    over: over.promise,
    /** Resolves once its command is gone. */
    gone: () => (child && child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined),
    runs: () => child !== undefined && child.exitCode === null && child.signalCode === null,
    sent: () => sent,
    start: (sendToClient: typeof send) => {
      send = sendToClient;
      wake();
      run().catch((error: unknown) => finish(String(error)));
    },
    pause,
    end,
    receive: async (bytes: Buffer) => {
      const message = decode(bytes);
      if (typeof message === "string") return reject(message);
      wake();
      if (message.type === "input_stream_data") await receiveInput(message);
      else if (message.type === "acknowledge")
        unacknowledged.delete(
          (JSON.parse(message.payload.toString()) as { AcknowledgedMessageSequenceNumber: number }).AcknowledgedMessageSequenceNumber,
        );
      else reject(`a message of type ${message.type}`);
    },
  };
}

/**
 * As the agent makes its output UTF-8: what may be the beginning of a character waits for the next bytes, and of the replacement character only the first
 * byte is passed.
 */
function asText(bytes: Buffer): [text: Buffer, rest: Buffer] {
  let end = bytes.length;
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    if (length > back) end = bytes.length - back;
    if (byte >= 0xc0 || byte < 0x80) break;
  }
  const text = bytes.subarray(0, end);
  const kept = Buffer.from(text.toString("latin1").replaceAll("\u00ef\u00bf\u00bd", "\u00ef"), "latin1");
  return [kept, bytes.subarray(end)];
}

/** As github.com/google/shlex splits words: quotes, escapes and comments of a shell, and nothing else of it. */
export function splitCommand(command: string): string[] {
  const words: string[] = [];
  const pattern = /\s+|#[^\n]*|((?:'[^']*'|"(?:\\[\s\S]|[^"\\])*"|\\[\s\S]|[^\s'"\\])+)/gy;
  for (const [, word] of command.matchAll(pattern)) {
    if (word === undefined) continue;
    words.push(
      word.replace(
        /'([^']*)'|"((?:\\[\s\S]|[^"\\])*)"|\\([\s\S])/g,
        (_, single?: string, double?: string, escaped?: string) => single ?? double?.replace(/\\([\s\S])/g, "$1") ?? escaped ?? "",
      ),
    );
  }
  return words;
}

/** Written here a second time, from AWS's sources, so that the driver's own is held against another. */
export function encode(message: { type: string; sequence: number; flags?: number; payloadType: number; payload: Buffer }): Buffer {
  const header = Buffer.alloc(120);
  header.writeUInt32BE(116, 0);
  header.write(message.type.padEnd(32, " "), 4);
  header.writeUInt32BE(1, 36);
  header.writeBigUInt64BE(BigInt(Date.now()), 40);
  header.writeBigInt64BE(BigInt(message.sequence), 48);
  header.writeBigUInt64BE(BigInt(message.flags ?? 0), 56);
  const [most, least] = splitUuid(randomUUID());
  header.write(least, 64, "hex");
  header.write(most, 72, "hex");
  createHash("sha256").update(message.payload).digest().copy(header, 80);
  header.writeUInt32BE(message.payloadType, 112);
  header.writeUInt32BE(message.payload.length, 116);
  return Buffer.concat([header, message.payload]);
}

function splitUuid(uuid: string): [most: string, least: string] {
  const digits = uuid.replaceAll("-", "");
  return [digits.slice(0, 16), digits.slice(16)];
}

/** What is wrong with it, else the message: AgentMessage.Deserialize and Validate. */
export function decode(bytes: Buffer): WireMessage | string {
  if (bytes.length < 120) return "shorter than a header";
  const length = bytes.readUInt32BE(0);
  if (length === 0) return "HeaderLength cannot be zero";
  const type = bytes.toString("utf8", 4, 36).replace(/^\0+|\0+$/g, "").trim(); // prettier-ignore
  if (type === "") return "MessageType is missing";
  if (bytes.readBigUInt64BE(40) === 0n) return "CreatedDate is missing";
  const payload = bytes.subarray(length + 4);
  const size = bytes.readUInt32BE(116);
  if (size !== payload.length) return "PayloadLength is not the payload's";
  if (size > 0 && !createHash("sha256").update(payload).digest().equals(bytes.subarray(80, 112))) return "payload Hash is not valid";
  const hex = bytes.toString("hex", 72, 80) + bytes.toString("hex", 64, 72);
  const id = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  return { type, sequence: Number(bytes.readBigInt64BE(48)), id, payloadType: bytes.readUInt32BE(112), payload };
}

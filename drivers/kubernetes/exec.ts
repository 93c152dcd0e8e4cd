import { once } from "node:events";
import type { V1Status } from "@kubernetes/client-node";
import type WebSocket from "ws";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { ExecOptions, ExecSession, TerminalSize } from "../driver.ts";
import { createMark, endMarkedScript, type ExecMark } from "../exec.ts";
import type { KubernetesApi } from "./cluster.ts";
import { CONTAINER, selectService } from "./definition.ts";
import { answered, cut, unreachable } from "./faults.ts";
import { listAll } from "./objects.ts";
import { currentPod, podStateOf } from "./observe.ts";

/**
 * The first byte of a message is its channel. Of this protocol's versions only the fifth can end a command's input; API servers speak it from 1.30 on.
 * https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ and k8s.io/apimachinery/pkg/util/remotecommand
 */
const SUBPROTOCOL = "v5.channel.k8s.io";
const CHANNELS = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, end: 255 } as const;
/** As the API server's own buffers. */
const CHUNK_BYTES = 32_768;
/** The kubelet's sentence for a container that has not begun, or has ended. */
const NOT_RUNNING = /^container not found/;
/** Load balancers close connections that are idle for some minutes. */
const PING_MS = 30_000;
/** Of the command that shows whether there is a shell. A node that hangs does not answer. */
const PROBE_MS = 10_000;
/** Of the script that ends what is left. */
const END_MS = 5_000;

/** A pod that runs, and what is done there, for messages. */
type ExecPlace = { cluster: KubernetesApi; pod: string; doing: string };

/** Runs a command in the service's pod. Undefined if it does not run. Faults: those of the API, EXEC_UNAVAILABLE. */
export async function openExec(
  cluster: KubernetesApi,
  service: string,
  { command, terminal }: ExecOptions,
  signal: AbortSignal,
): Promise<ExecSession | undefined> {
  const current = currentPod((await listAll(cluster, "pods", selectService(service), signal)).items);
  // One whose start the kubelet has not reported yet may run already: it answers itself.
  const state = current && podStateOf(current).is;
  if (!current || (state !== "running" && state !== "pending")) return undefined;
  const pod = current.metadata?.name ?? "";
  const place = { cluster, pod, doing: `Running a command in ${pod}` };
  try {
    // The API sets no variables. A shell does, and then becomes the command.
    const probe = await run(place, ["/bin/sh", "-c", ":"], { ms: PROBE_MS, signal });
    if (probe && NOT_RUNNING.test(probe.message ?? "")) return undefined;
    const mark = probe && exitCodeOf(probe) === 0 ? createMark() : undefined;
    return createSession(place, await connect(place, mark ? marked(command, mark, terminal) : command, terminal, signal), mark, terminal);
  } catch (error) {
    // Its pod has ended meanwhile.
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

function marked(command: readonly string[], { variable, value }: ExecMark, terminal: TerminalSize | undefined): string[] {
  const variables = `${variable}=${value}${terminal ? " TERM=xterm-256color" : ""}`;
  return ["/bin/sh", "-c", `export ${variables}; exec "$@"`, "sh", ...command];
}

async function connect(
  { cluster, pod, doing }: ExecPlace,
  command: readonly string[],
  terminal: TerminalSize | undefined,
  signal: AbortSignal,
): Promise<WebSocket> {
  const isTerminal = terminal !== undefined;
  const query = { container: CONTAINER, command, stdin: "true", stdout: "true", stderr: String(!isTerminal), tty: String(isTerminal) };
  try {
    return await cluster.connect({ doing, verb: "get", resource: "pods", name: pod, part: "exec", query, signal, subprotocol: SUBPROTOCOL });
  } catch (error) {
    const cause = error instanceof Fault ? error.cause : undefined;
    // So answers a server that knows none of the offered protocols.
    const isOld = answered(error, 400) || (cause instanceof Error && /subprotocol/i.test(cause.message));
    if (!isOld) throw error;
    throw new Fault("EXEC_UNAVAILABLE", `berth opens shells in pods of Kubernetes 1.30 or later: here, run \`kubectl exec ${pod}\`.`, {
      cause: error,
    });
  }
}

function createSession(place: ExecPlace, socket: WebSocket, mark: ExecMark | undefined, terminal: TerminalSize | undefined): ExecSession {
  const { cluster, doing } = place;
  let status: V1Status | undefined;
  let broken: Error | undefined;
  let isClosed = false;
  socket.on("error", (error) => (broken ??= error));
  const send = (channel: number, bytes: Uint8Array) =>
    new Promise<void>((resolve) => {
      if (socket.readyState !== socket.OPEN) return resolve();
      socket.send(Buffer.concat([Buffer.of(channel), bytes]), () => resolve());
    });
  const resize = ({ columns, rows }: TerminalSize) => send(CHANNELS.resize, Buffer.from(JSON.stringify({ Width: columns, Height: rows })));
  if (terminal) void resize(terminal);
  const ping = () => {
    if (socket.readyState === socket.OPEN) socket.ping();
    cancelPing = cluster.clock.after(PING_MS, ping);
  };
  let cancelPing = cluster.clock.after(PING_MS, ping);
  socket.once("close", () => cancelPing());

  async function* readOutput() {
    for await (const message of messagesOf(socket)) {
      const [channel] = message;
      const bytes = message.subarray(1);
      if (channel === CHANNELS.status) {
        status = parseStatus(bytes);
        const failure = startFailure(status);
        // As an engine does, whose sentence is all that there is to read.
        if (failure !== undefined) yield { stream: terminal ? ("stdout" as const) : ("stderr" as const), bytes: Buffer.from(`${failure}\r\n`) };
      } else if (bytes.length > 0 && (channel === CHANNELS.stdout || channel === CHANNELS.stderr))
        yield { stream: channel === CHANNELS.stdout ? ("stdout" as const) : ("stderr" as const), bytes };
    }
  }

  return {
    output: readOutput(),
    write: async (bytes) => {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) await send(CHANNELS.stdin, bytes.subarray(at, at + CHUNK_BYTES));
    },
    endInput: () => {
      // A terminal that loses its input loses its output as well.
      if (!terminal) void send(CHANNELS.end, Buffer.of(CHANNELS.stdin));
    },
    resize: async (size) => {
      if (terminal) await resize(size);
    },
    exitCode: async () => {
      if (status) return exitCodeOf(status);
      // Its connection is gone, and not the command.
      throw unreachable(broken ?? new Error("the connection ended without the command's result"), { doing, at: cluster.at, hasAnswered: true });
    },
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      try {
        // The cluster leaves a command without a terminal running.
        if (status === undefined && mark) await run(place, ["/bin/sh", "-c", endMarkedScript(mark)], { ms: END_MS });
      } catch {
        // With its pod the command is gone too. Without an API nothing can be ended.
      } finally {
        socket.terminate();
      }
    },
  };
}

/** Reads on only when the last one was taken, so that a command waits for its reader. */
async function* messagesOf(socket: WebSocket): AsyncGenerator<Buffer> {
  const waiting: Buffer[] = [];
  let wake = () => {};
  let isOver = false;
  socket.on("message", (data: Buffer) => {
    waiting.push(data);
    socket.pause();
    wake();
  });
  socket.once("close", () => {
    isOver = true;
    wake();
  });
  for (;;) {
    const message = waiting.shift();
    if (message) yield message;
    else if (isOver || socket.readyState === socket.CLOSED) return;
    else {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      socket.resume();
      await promise;
    }
  }
}

/** The result of a command without input, whose output is not read. Undefined if the connection ended before it. Faults: ENGINE_UNREACHABLE at the limit. */
function run(place: ExecPlace, command: readonly string[], limit: { ms: number; signal?: AbortSignal }): Promise<V1Status | undefined> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `${place.doing}: the node of ${place.pod} did not answer within ${limit.ms / 1_000} s.`);
  return withTimeout({ clock: place.cluster.clock, overdue, ...limit }, (signal) => runUntil(place, command, signal));
}

async function runUntil(place: ExecPlace, command: readonly string[], signal: AbortSignal): Promise<V1Status | undefined> {
  const socket = await connect(place, command, undefined, signal);
  let status: V1Status | undefined;
  const end = () => socket.terminate();
  signal.addEventListener("abort", end);
  socket.on("error", end);
  socket.on("message", (data: Buffer) => {
    if (data[0] === CHANNELS.status) status = parseStatus(data.subarray(1));
  });
  socket.resume();
  if (socket.readyState !== socket.CLOSED) await once(socket, "close");
  signal.removeEventListener("abort", end);
  signal.throwIfAborted();
  return status;
}

/** What a proxy between may have cut or written itself is a failure without a reason. */
function parseStatus(bytes: Uint8Array): V1Status {
  try {
    const status = JSON.parse(Buffer.from(bytes).toString()) as V1Status | null;
    if (typeof status === "object" && status !== null) return status;
  } catch {
    // As below.
  }
  return { status: "Failure" };
}

/** Why the command was not run at all. Undefined if it was. */
function startFailure({ status, reason, message }: V1Status): string | undefined {
  return status === "Success" || reason === "NonZeroExitCode" ? undefined : cut(message ?? "The cluster ran no command and gave no reason.");
}

/** A program that cannot be run has a shell's exit code. Undefined if the cluster tells none. */
function exitCodeOf({ status, details, message = "" }: V1Status): number | undefined {
  if (status === "Success") return 0;
  const code = Number(details?.causes?.find(({ reason }) => reason === "ExitCode")?.message);
  if (Number.isInteger(code)) return code;
  if (/no such file or directory|executable file not found/.test(message)) return 127;
  return /permission denied/.test(message) ? 126 : undefined;
}

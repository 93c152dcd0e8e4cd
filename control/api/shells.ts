import { randomUUID } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { type WebSocket, WebSocketServer } from "ws";
import type { ExecOptions, ExecSession } from "../../drivers/driver.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { type ApiCaller, isAtConsole } from "./authorization.ts";
import { findLiveContainer, findReplica, parseUuid } from "./entities.ts";
import { openLiveStreams, type StreamLimits } from "./live-streams.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { ID_PARAMS, nullable, REPLICA_NUMBER, text } from "./schemas.ts";
import { LONGEST_SHELL_MESSAGE, SHELL_STREAMS, type ShellReport, type ShellRequest } from "./shell-protocol.ts";
import { takeUpgrade } from "./upgrades.ts";

/** Each has two connections, and some hundred KiB in buffers at most. */
const LIMITS: StreamLimits = { code: "SHELLS_FULL", total: 32, perUser: 4, takesOldest: false };
/** A shell that is in use all the time ends too: it keeps its container running. */
const LONGEST_MS = 8 * 3_600_000;
/** How often an open shell counts as use of its container. */
const USE_MS = 1_000;
/** A client that vanished is noticed by two of them. Proxies between close connections that are idle for a minute. */
const PING_MS = 20_000;
/** More output than this waits in the container until the client has read some. */
const MOST_UNSENT = 262_144;
/** The same for a client that reports what it has shown. */
const MOST_UNSHOWN = 1_048_576;
/** For the client's part of the closing handshake. */
const CLOSE_MS = 2_000;
/** How long the orchestrator may take to run the command. */
const OPEN_MS = 15_000;

/** A shell for users: bash where the image has it. */
const DEFAULT_COMMAND = ["/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash; fi; exec /bin/sh"];
const SIDE = { minimum: 1, maximum: 1_000 };
const QUERY = Type.Object({
  command: Type.Optional(
    Type.Array(Type.String({ maxLength: 4_096 }), {
      maxItems: 100,
      description: "the program, and each argument as another `command`; none: a shell",
    }),
  ),
  tty: Type.Optional(Type.Boolean({ default: false, description: "with a terminal" })),
  replica: REPLICA_NUMBER,
  columns: Type.Optional(Type.Integer({ ...SIDE, default: 80 })),
  rows: Type.Optional(Type.Integer({ ...SIDE, default: 24 })),
  shown: Type.Optional(Type.Boolean({ default: false, description: "output waits until the client reports what it has processed" })),
});
const ACCESS = Type.Object({
  isAvailable: Type.Boolean({ description: "whether the caller may open a shell here now, if the container runs" }),
  reason: nullable(text, { description: "why not" }),
});

const NOT_HERE = "Only administrators open shells here. A package's author may in a container that only the author started";

/** Shells in containers, over WebSockets. `close` ends them all. */
export function openShells(deps: RouteDeps): { routes: Route[]; close(): Promise<void> } {
  const { store, lifecycle, identity, authorization, auditRecorder, shell, clock, log } = deps;
  const streams = openLiveStreams({ authorization, identity, limits: LIMITS, clock });
  const server = new WebSocketServer({ noServer: true, maxPayload: LONGEST_SHELL_MESSAGE, perMessageDeflate: false });
  /** Open shells; `over`: with the entry of its end in the audit log. */
  const running = new Set<{ end(reason: string): void; over: Promise<void> }>();
  /** Those whose command is not yet run, or whose refusal is not yet in the audit log. */
  const opening = new Set<Promise<void>>();
  const closing = new AbortController();

  /** Undefined: the caller may. */
  const refusalOf = async (container: Container, caller: ApiCaller): Promise<Fault | undefined> => {
    if (shell === undefined) return new Fault("SHELL_DISABLED", "Shells are off on this server: an administrator turns them on with BERTH_SHELL=on.");
    if (caller.admin) return undefined;
    const author = (await store.packages.find(container.packageId))?.authorId;
    if (author !== caller.userId) return new Fault("NOT_PERMITTED", `${NOT_HERE}.`);
    if (shell.pausesContainers)
      return new Fault("NOT_PERMITTED", `${NOT_HERE}, and BERTH_PAUSED_MINUTES keeps what users of earlier starts left in memory.`);
    // What runs may have been started by an earlier request than that of the row: its token stays in the container.
    const tokens = await store.sessions.byContainer(container.id);
    if (container.requestedBy !== caller.userId || tokens.some(({ userId }) => userId !== caller.userId))
      return new Fault("NOT_PERMITTED", `${NOT_HERE}: another user started ${container.name}. Stop it, and start it yourself.`);
    return undefined;
  };
  const requireExec = (container: Container) => {
    const exec = shell?.exec() ?? { refusal: "Shells are off on this server." };
    if (typeof exec !== "function") throw new Fault("EXEC_UNAVAILABLE", exec.refusal);
    if (container.adopted)
      throw new Fault("EXEC_UNAVAILABLE", `berth did not start ${container.name}: open a shell in it with the tools of its orchestrator.`);
    return exec;
  };
  /** The rights of now: the user may have lost them meanwhile. */
  const mayStill = async (id: string, caller: ApiCaller): Promise<boolean> => {
    const [user, container] = [await store.users.find(caller.userId), await store.containers.find(id)];
    if (!user || !container) return false;
    return (await refusalOf(container, { ...caller, admin: caller.admin && user.admin })) === undefined;
  };
  /** A container's page shares the edge's cookie, and containers receive tokens of their callers: neither may open a shell. */
  const requireToolsCredential = async (request: FastifyRequest, { by, token }: ApiCaller) => {
    if (by === "devKey") return;
    if (token !== undefined && (await identity.isOfTool(token, isAtConsole(request) ? "console" : "edge"))) return;
    throw new Fault(
      "NOT_PERMITTED",
      "This session cannot open a shell, since containers may have its token: use the console, berth exec, or the developer key (Authorization: Dev <key>).",
    );
  };

  const open = async (request: FastifyRequest, reply: FastifyReply, container: Container, options: ExecOptions, reportsShown: boolean) => {
    const caller = authorization.caller(request);
    const { id, name, service, state, replicaOf = id } = container;
    const exec = requireExec(container);
    if (state !== "STARTED" && state !== "CHECKING" && container.replica !== undefined)
      throw new Fault("CONTAINER_STOPPED", `${name} does not run: berth starts and stops replicas with the load. Choose another one.`);
    if (state !== "STARTED" && state !== "CHECKING")
      throw new Fault("CONTAINER_STOPPED", `${name} does not run: start it with berth run ${name}, or in the console.`);
    closing.signal.throwIfAborted();
    const upgrade = takeUpgrade(request.raw, reply.raw);
    if (!upgrade) throw new Fault("REQUEST_INVALID", "A shell needs an upgrade to WebSocket.");
    let endShell: (reason: string) => void = () => reply.raw.destroy();
    // A store that cannot be read confirms no right.
    const verify = async () => {
      if (!(await mayStill(id, caller).catch(() => false))) endShell("You may not use this shell any more.");
    };
    const signal = streams.open(request, reply, verify);
    const target = `${namedTarget(name, id) ?? id}: ${options.command.join(" ")}`;
    const entry = { target, status: undefined, requestId: randomUUID() };
    await auditRecorder.append(request, { ...entry, action: "shellOpened" });
    const closed = () =>
      auditRecorder
        .append(request, { ...entry, action: "shellClosed" })
        .catch((err: unknown) => log.error({ err, container: name }, "end of a shell not in the audit log"));
    const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not run the command in ${name} within ${OPEN_MS / 1_000} s.`);
    let session: ExecSession;
    try {
      const opened = await withTimeout({ clock, ms: OPEN_MS, overdue, signal: AbortSignal.any([signal, closing.signal]) }, async (own) => {
        const late = await exec(service, options, own);
        if (own.aborted) await late?.close();
        return late;
      });
      if (opened === undefined) throw new Fault("CONTAINER_STOPPED", `${name} does not run any more: start it with berth run ${name}.`);
      session = opened;
    } catch (error) {
      await closed();
      throw error;
    }
    reply.hijack();
    let isAccepted = false;
    server.handleUpgrade(request.raw, upgrade.socket, upgrade.head, (socket) => {
      isAccepted = true;
      const { end, over } = runShell({ socket, session, container: replicaOf, signal, reportsShown });
      endShell = end;
      const entry = { end, over: over.then(closed) };
      running.add(entry);
      void entry.over.finally(() => running.delete(entry));
    });
    // The client has left, or its handshake was not valid.
    if (!isAccepted) {
      await session.close();
      await closed();
    }
  };

  const routes = [
    route({
      method: "GET",
      path: "/docker/containers/:id/exec",
      authorize: "session",
      // Each shell has entries of its own, at its begin and its end.
      audit: "none",
      schema: {
        tags: ["docker containers"],
        summary: "Says whether the caller may open a shell; with an upgrade to WebSocket opens it",
        params: ID_PARAMS,
        querystring: QUERY,
        response: ACCESS,
      },
      handle: async (request, reply) => {
        const caller = authorization.caller(request);
        const live = await findLiveContainer(store, parseUuid(request.params.id));
        if (!live) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${request.params.id}.`);
        const { command = DEFAULT_COMMAND, tty, columns = 80, rows = 24, shown = false } = request.query;
        const container = await findReplica(store, live.container, request.query.replica);
        const isUpgrade = request.headers.upgrade !== undefined;
        try {
          const refusal = await refusalOf(container, caller);
          if (refusal) throw refusal;
          await requireToolsCredential(request, caller);
          requireExec(container);
        } catch (error) {
          if (isUpgrade || !(error instanceof Fault)) throw error;
          return { isAvailable: false, reason: error.message };
        }
        if (!isUpgrade) return { isAvailable: true, reason: null };
        if (command.length === 0 || command[0] === "") throw new Fault("REQUEST_INVALID", "The command is empty: name a program.");
        const shellOpening = open(request, reply, container, { command, terminal: tty ? { columns, rows } : undefined }, shown);
        opening.add(shellOpening);
        await shellOpening.finally(() => opening.delete(shellOpening));
        return undefined;
      },
    }),
  ];
  return {
    routes,
    close: async () => {
      closing.abort(new Fault("CONTROL_AWAY", "berth stops. Try again in a moment."));
      await Promise.allSettled(opening);
      for (const { end } of running) end("berth stops. Reconnect in a moment.");
      await Promise.all([...running].map(({ over }) => over));
    },
  };

  function runShell({ socket, session, container, signal, reportsShown }: RunningShell): { over: Promise<void>; end(reason: string): void } {
    const over = Promise.withResolvers<void>();
    const began = clock.monotonic();
    const idleMs = shell?.idleMs ?? 0;
    let usedOn = began;
    let pingedOn = began;
    let isAnswered = true;
    let isEnded = false;
    let input: Promise<void> = Promise.resolve();
    let inputs = 0;
    let unshown = 0;
    let onShown = () => {};

    /** The last message, and the end of everything. */
    const finish = async (report: ShellReport, closeCode: number) => {
      if (isEnded) return;
      isEnded = true;
      cancel();
      onShown();
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(report));
      socket.resume();
      socket.close(closeCode);
      const cancelClose = clock.after(CLOSE_MS, () => socket.terminate());
      await session.close().catch((err: unknown) => log.debug({ err }, "command of a shell not ended"));
      await closedSocket;
      cancelClose();
      over.resolve();
    };
    const end = (reason: string) => void finish({ reason }, 1001);
    const closedSocket = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    void closedSocket.then(() => finish({ reason: "The client has left." }, 1000));

    const tick = () => {
      const now = clock.monotonic();
      cancel = clock.after(USE_MS, tick);
      if (now - began >= LONGEST_MS) return end(`A shell stays open for ${LONGEST_MS / 3_600_000} hours at most. Open another one.`);
      if (now - usedOn >= idleMs) return end(`Nothing was typed or written for ${Math.round(idleMs / 6_000) / 10} minutes. Open another one.`);
      if (now - pingedOn >= PING_MS) {
        // Answers are behind the input that waits for the command.
        if (!isAnswered && !socket.isPaused) return socket.terminate();
        isAnswered = false;
        pingedOn = now;
        socket.ping();
      }
      // As a gateway reports requests. Without it the container would be stopped for idleness under the user's hands.
      const use = { id: container, open: 0, streams: 0, lastActive: clock.now() };
      lifecycle.recordUse({ gateway: "shell", seq: 0, uses: [use] }).catch((err: unknown) => log.debug({ err }, "use by a shell not recorded"));
    };
    let cancel = clock.after(0, tick);
    signal.addEventListener("abort", () => end("You are not signed in any more."));

    /** No more is read from the client until the command has taken this. */
    const takeInput = (take: () => Promise<void> | void) => {
      inputs++;
      socket.pause();
      input = input
        .then(take)
        .catch((err: unknown) => log.debug({ err }, "input of a shell not written"))
        .finally(() => {
          if (--inputs > 0) return;
          isAnswered = true;
          pingedOn = clock.monotonic();
          socket.resume();
        });
    };

    socket.on("error", () => socket.terminate());
    socket.on("pong", () => (isAnswered = true));
    socket.on("message", (data: Buffer, isBinary) => {
      if (isEnded) return;
      usedOn = clock.monotonic();
      if (!isBinary) {
        const request = parseRequest(data);
        if (request === undefined) return void finish({ reason: "The client sent a message that is no request of a shell." }, 1008);
        if ("shown" in request) {
          unshown = Math.max(0, unshown - request.shown);
          if (unshown < MOST_UNSHOWN) onShown();
          return;
        }
        return takeInput(() => ("resize" in request ? session.resize(request.resize) : session.endInput()));
      }
      if (data[0] !== SHELL_STREAMS.stdin) return void finish({ reason: "The client sent bytes of another stream than standard input." }, 1008);
      takeInput(() => session.write(data.subarray(1)));
    });

    const send = (bytes: Buffer) =>
      new Promise<void>((resolve) => {
        socket.send(bytes, () => resolve());
        if (socket.bufferedAmount < MOST_UNSENT) resolve();
      });
    const forward = async () => {
      for await (const { stream, bytes } of session.output) {
        usedOn = clock.monotonic();
        for (let at = 0; at < bytes.length; at += LONGEST_SHELL_MESSAGE - 1)
          await send(Buffer.concat([Buffer.of(SHELL_STREAMS[stream]), bytes.subarray(at, at + LONGEST_SHELL_MESSAGE - 1)]));
        unshown += reportsShown ? bytes.length : 0;
        if (unshown >= MOST_UNSHOWN && !isEnded) await new Promise<void>((resolve) => (onShown = resolve));
        if (isEnded) return;
      }
      await finish({ exitCode: (await session.exitCode()) ?? null }, 1000);
    };
    forward().catch((err: unknown) => {
      if (!isEnded) log.info({ err, container }, "shell broke off");
      void finish({ reason: err instanceof Fault ? err.message : "The connection to the container broke." }, 1011);
    });
    return { over: over.promise, end };
  }
}

type RunningShell = { socket: WebSocket; session: ExecSession; container: string; signal: AbortSignal; reportsShown: boolean };

/** Undefined for anything else. */
function parseRequest(data: Buffer): ShellRequest | undefined {
  try {
    type Unchecked = { resize?: { columns?: unknown; rows?: unknown }; stdin?: unknown; shown?: unknown };
    const { resize, stdin, shown } = JSON.parse(data.toString()) as Unchecked;
    if (stdin === "ended") return { stdin };
    if (typeof shown === "number" && shown >= 0) return { shown };
    const { columns, rows } = resize ?? {};
    if (isSide(columns) && isSide(rows)) return { resize: { columns, rows } };
  } catch {
    // It is no JSON.
  }
  return undefined;
}

function isSide(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= SIDE.minimum && value <= SIDE.maximum;
}

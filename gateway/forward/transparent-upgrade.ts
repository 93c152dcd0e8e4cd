import { Agent, IncomingMessage, type ClientRequest } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ProxyServer } from "http-proxy";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Forward, Lease } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import type { EarlyBytes } from "./early-bytes.ts";
import { codeOf, dialLease, type Dialled } from "./dial.ts";
import { grouped, namesOf, travelling } from "./header-lines.ts";
import { detailed } from "./http-proxy.ts";
import { sendRawAnswer } from "./send-answer.ts";

export type UpgradeExchange = {
  request: IncomingMessage;
  socket: Duplex;
  /** Reads the client's socket until the container takes over. */
  early: EarlyBytes;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
};

export type TransparentUpgrade = {
  /** Passes an upgrade through: the container's own 101 or refusal, then bytes. Resolves when both sockets are closed. */
  upgrade(exchange: UpgradeExchange): Promise<void>;
};

/** Executes decisions to forward an upgrade with `http-proxy`, over a connection that is already made: see `openHttpProxy`. */
export function openTransparentUpgrade(parts: { clock: Clock; limits: Pick<GatewayLimits, "connectTimeoutMs" | "lingerMs"> }): TransparentUpgrade {
  const { clock, limits } = parts;
  const proxy = new ProxyServer({ prependPath: false });
  const takeOver = new WeakMap<IncomingMessage, (sent: ClientRequest) => void>();
  proxy.on("error", () => undefined);
  proxy.on("proxyReqWs", (sent, asked) => takeOver.get(asked)?.(sent));

  return {
    upgrade: async (exchange) => {
      const { socket, forward, lease, signal } = exchange;
      try {
        const dialled = await dialLease(lease, { clock, timeoutMs: limits.connectTimeoutMs, signal });
        await pass(exchange, dialled);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Fault)) throw error;
        sendRawAnswer(socket, forward.answerTo(error));
      } finally {
        lease.release();
      }
    },
  };

  function pass(exchange: UpgradeExchange, { socket: upstream, target, connectMs }: Dialled): Promise<void> {
    const { request, socket, early, forward, lease, signal } = exchange;
    return new Promise((resolve) => {
      const asked = new IncomingMessage(request.socket);
      asked.method = "GET";
      asked.url = "/";
      asked.httpVersion = "1.1";
      // The first makes the library take it for a WebSocket, the second is what it writes on a refusal.
      asked.headers = { upgrade: "websocket", connection: "close" };

      let answered = false;
      // Answers at once: the library closes the client's socket as soon as this returns.
      const fail = (error: Error) => {
        if (answered) return;
        upstream.destroy();
        if (!signal.aborted) sendRawAnswer(socket, forward.answerTo(error instanceof Fault ? error : brokeOff(error)));
        resolve();
      };
      upstream.on("error", () => undefined);

      takeOver.set(asked, (sent) => {
        writeHead(sent, request, forward);
        const cancel = clock.after(forward.headTimeoutMs, () =>
          sent.destroy(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")),
        );
        const onAbort = () => sent.destroy();
        signal.addEventListener("abort", onAbort, { once: true });
        if (signal.aborted) onAbort();
        sent.once("close", () => {
          cancel();
          signal.removeEventListener("abort", onAbort);
        });
        sent.once("error", fail);
        sent.once("upgrade", (switched: IncomingMessage, container: Socket) => {
          cancel();
          answered = true;
          const lines = travelling(switched.rawHeaders, forward.response({ connectMs, names: () => namesOf(switched.rawHeaders) }));
          switched.headers = Object.fromEntries(grouped([["Connection", "Upgrade"], ["Upgrade", "websocket"], ...lines]));
          // Only once the library has put the first bytes back and tied the sockets together: they would come here alone.
          queueMicrotask(() => {
            container.on("data", (chunk: Buffer) => lease.bytes(chunk.length));
            socket.on("data", (chunk: Buffer) => lease.bytes(chunk.length));
          });
          endTogether(clock, limits.lingerMs, socket, container, resolve);
        });
        sent.once("response", (refused: IncomingMessage) => {
          cancel();
          answered = true;
          const kept = new Set(travelling(refused.rawHeaders, { remove: [], add: [] }).map(([name]) => name.toLowerCase()));
          refused.headers = Object.fromEntries(Object.entries(refused.headers).filter(([name]) => kept.has(name)));
          refused.once("close", () => (socket as Socket).destroySoon());
          endTogether(clock, limits.lingerMs, socket, upstream, resolve);
        });
      });
      proxy.ws(asked, socket, early.take(), { target: detailed(target), agent: new OneConnection(upstream) }, fail);
    });
  }
}

/** Hands out the connection that was made before, so that a refused one could still be tried elsewhere. */
class OneConnection extends Agent {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ keepAlive: false });
    this.#socket = socket;
  }

  override createConnection(): Socket {
    return this.#socket;
  }
}

function writeHead(sent: ClientRequest, request: IncomingMessage, forward: Forward): void {
  sent.path = forward.target;
  for (const [name, values] of grouped(travelling(request.rawHeaders, forward.request)))
    sent.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
  sent.setHeader("Connection", "Upgrade");
  sent.setHeader("Upgrade", "websocket");
}

/** The library ends one side when the other closes; a side that then stays half open is not waited for. */
function endTogether(clock: Clock, lingerMs: number, client: Duplex, container: Duplex, done: () => void): void {
  let closed = 0;
  for (const [one, other] of [
    [client, container],
    [container, client],
  ] as const) {
    const onClose = () => {
      if (++closed === 2) return done();
      if (!other.writableEnded) other.end();
      const cancel = clock.after(lingerMs, () => other.destroy());
      other.once("close", cancel);
    };
    if (one.closed) onClose();
    else one.once("close", onClose);
  }
}

function brokeOff(cause: Error): Fault {
  return new Fault("CONTAINER_BROKE_OFF", `The container broke the connection before it answered (${codeOf(cause)})`, { cause });
}

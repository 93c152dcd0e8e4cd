import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { systemClock, type Clock } from "../../lib/clock.ts";
import type { ControlApi } from "../../gateway/feed/control-client.ts";
import { ENGINE_NAMES, type EngineName } from "../../gateway/connections/engine.ts";
import type { NetConnection } from "../../gateway/connections/connection.ts";
import type { Identity } from "../../gateway/contract.ts";
import type { GatewayLimits } from "../../gateway/limits.ts";
import { createOpenExchanges, type OpenExchanges } from "../../gateway/containers/open-exchanges.ts";
import type { CalloutOptions } from "../../gateway/callout/open-callout.ts";
import { openGateway, type Gateway } from "../../gateway/open-gateway.ts";
import type { GatewayReadiness } from "../../gateway/readiness.ts";
import type { DatagrokServer } from "../../gateway/api-backend.ts";
import type { TlsKeys } from "../../gateway/tls-keys.ts";
import { createTrustedProxies } from "../../gateway/trusted-proxies.ts";
import type { ExchangeListener } from "../../gateway/access-record.ts";
import type { PageFiles } from "../../gateway/waiting/waiting-page.ts";
import { openLog } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { openTestConnections, type SocketKind } from "../fixtures/connections.ts";
import { openTestDirectory, type TestDirectory } from "../fixtures/directory.ts";
import { DEFAULT_LIMITS } from "../fixtures/gateway-limits.ts";
import { PATIENCE_MS } from "../fixtures/eventually.ts";
import { listen, type ListenAddress } from "../fixtures/server.ts";

export const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
export const PATH = `/api/docker/containers/proxy/${ID}`;
export const WS_PATH = `/api/docker/containers/proxy-ws/${ID}`;

export type GatewayFixture = TestDirectory & {
  openAt: OpenExchanges["at"];
  gateway: Gateway;
  port: number;
  base: string;
  apiSocket: string;
  /** Near ends of the clients' connections, in the order in which they were accepted. */
  clients: NetConnection[];
  /** Those of the connections to containers. */
  containers: NetConnection[];
};

/** A gateway that listens on a port of its own, over a directory that the test holds. */
export async function openStand(
  t: Pick<Test, "teardown">,
  options: {
    limits?: Partial<GatewayLimits>;
    origins?: string[];
    trusted?: string[];
    tls?: TlsKeys;
    http2?: boolean;
    consoleName?: string;
    datagrok?: DatagrokServer;
    readiness?: GatewayReadiness;
    forwarder?: EngineName;
    sockets?: SocketKind;
    admits?: ControlApi["admits"];
    /** In place of the one that the test holds. */
    identity?: Identity;
    clock?: Clock;
    metrics?: Metrics;
    watchers?: ExchangeListener[];
    waitingFiles?: PageFiles;
    tcp?: Parameters<typeof openGateway>[0]["tcp"];
    callout?: Partial<CalloutOptions>;
  } = {},
): Promise<GatewayFixture> {
  const held = openTestDirectory();
  const apiSocket = join(await shortFolder(t), "api.sock");
  const exchanges = createOpenExchanges();
  const clients: NetConnection[] = [];
  const containers: NetConnection[] = [];
  const connections = openTestConnections(options.sockets);
  const gateway = await openGateway({
    exchanges,
    directory: held.directory,
    identity: options.identity ?? held.identity,
    api: { target: { socketPath: apiSocket }, ...(options.admits === undefined ? {} : { admits: options.admits }) },
    ...engine(options),
    connections: {
      ...connections,
      adopt: (socket, adoptOptions) => {
        const connection = connections.adopt(socket, adoptOptions);
        (adoptOptions?.readToEnd === true ? containers : clients).push(connection);
        return connection;
      },
    },
    limits: { ...DEFAULT_LIMITS, suspectAddressMs: 50, lingeringCloseMs: 500, ...options.limits },
    origins: options.origins ?? [],
    trusted: createTrustedProxies(options.trusted ?? []),
    tls: options.tls,
    http2: options.http2 ?? false,
    consoleName: options.consoleName,
    waitingFiles: options.waitingFiles,
    tcp: options.tcp,
    callout: options.callout && { host: "127.0.0.1", port: 0, secret: undefined, activeMs: 60_000, logs: undefined, ...options.callout },
    datagrok: options.datagrok,
    ...(options.readiness === undefined ? {} : { readiness: options.readiness }),
    ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
    watchers: options.watchers ?? [],
    clock: options.clock ?? systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  await new Promise<void>((resolve) => void gateway.server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => gateway.close());
  const { port } = gateway.server.address() as AddressInfo;
  return { ...held, openAt: exchanges.at, gateway, port, base: `http://127.0.0.1:${port}`, apiSocket, clients, containers };
}

/** The one that the test requests, or else the one that the environment names. */
function engine(engineOptions: { forwarder?: EngineName }): { forwarder?: EngineName } {
  const forwarder = engineOptions.forwarder ?? ENGINE_NAMES.find((name) => name === process.env["BERTH_FORWARDER"]);
  return forwarder === undefined ? {} : { forwarder };
}

/** A folder whose path is short enough for a socket's name: such a path has at most 107 bytes. */
export async function shortFolder(t: Pick<Test, "teardown">): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "berth-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A container: a real server that answers with `listener`; it is registered as awake by default. */
export async function openContainer(t: Test, listener: RequestListener): Promise<{ address: ListenAddress; server: Server }> {
  const server = createServer(listener);
  server.keepAliveTimeout = 60_000;
  return { address: await listen(t, server), server };
}

/** A container that answers with bytes as the test writes them. */
export async function openRawContainer(t: Test, onConnection: (socket: Socket) => void): Promise<ListenAddress> {
  const server = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  return listen(t, server);
}

/** Sends bytes and reads until the other side ends, or until `until` is in what came. */
export function exchange(port: number, sent: string | Buffer, until?: string | RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(sent));
    let came = "";
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(came);
    };
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`nothing more came after ${JSON.stringify(came)}`));
    }, PATIENCE_MS);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      came += text;
      if (until !== undefined && (typeof until === "string" ? came.includes(until) : until.test(came))) done();
    });
    socket.once("end", done);
    socket.once("error", done);
  });
}

/** A GET as a plain client writes it. */
export function get(path: string, lines: string[] = []): string {
  return [`GET ${path} HTTP/1.1`, "Host: stand.example", "Authorization: token", "Connection: close", ...lines, "", ""].join("\r\n");
}

export function bodyOf(message: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    message.on("data", (chunk: Buffer) => chunks.push(chunk));
    message.once("end", () => resolve(Buffer.concat(chunks)));
    message.once("error", reject);
  });
}

/** Answers with the request line and head as they came. */
export function echoHead(request: IncomingMessage, response: ServerResponse): void {
  response.end(JSON.stringify({ url: request.url, method: request.method, rawHeaders: request.rawHeaders }));
}

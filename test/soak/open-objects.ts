/** What is open in this process, private fields included: for the report about an exchange that does not end. */
import { readFileSync } from "node:fs";
import { ServerResponse } from "node:http";
import type { Runtime } from "node:inspector";
import { Session } from "node:inspector/promises";
import { Socket } from "node:net";

/** `#name` are private fields. */
type Fields = Record<string, unknown>;

/** Node's types have no private fields. */
type PropertiesOfObject = Runtime.GetPropertiesReturnType & { privateProperties?: { name: string; value?: Runtime.RemoteObject }[] };

const SHARED = Symbol.for("berth soak objects");
const shared = globalThis as unknown as Record<symbol, unknown>;

/** All objects of a class that are reachable. */
export async function objectsOf<Kind extends object>(kind: abstract new (...options: never[]) => Kind): Promise<Kind[]> {
  return withInspector(async (session) => {
    const prototype = await session.post("Runtime.evaluate", { expression: handedOver(kind.prototype) });
    const { objects } = await session.post("Runtime.queryObjects", { prototypeObjectId: prototype.result.objectId ?? "" });
    const take = `function () { globalThis[Symbol.for("berth soak objects")] = this; }`;
    await session.post("Runtime.callFunctionOn", { objectId: objects.objectId ?? "", functionDeclaration: take });
    return shared[SHARED] as Kind[];
  });
}

/** The fields of an object, private ones included. */
export async function fieldsOf(object: object): Promise<Fields> {
  return withInspector(async (session) => {
    const { result } = await session.post("Runtime.evaluate", { expression: handedOver(object) });
    const properties: PropertiesOfObject = await session.post("Runtime.getProperties", { objectId: result.objectId ?? "", ownProperties: true });
    const { result: own, privateProperties = [] } = properties;
    const fields: Fields = {};
    for (const { name, value } of [...own, ...privateProperties]) {
      if (value === undefined || value.type === "function") continue;
      fields[name] = value.objectId === undefined ? value.value : await realObject(session, value.objectId);
    }
    return fields;
  });
}

/** Sockets that are not destroyed. */
export async function describeSockets(): Promise<string[]> {
  const open = (await objectsOf(Socket)).filter((socket) => !socket.destroyed && socket.remotePort !== undefined);
  return open.map((socket) => `${socket.constructor.name} ${inWords({ ...portsOf(socket), ...streamFields(socket) })}`);
}

/** Requests that were not answered whole. */
export async function describeResponses(): Promise<string[]> {
  const open = (await objectsOf<ServerResponse>(ServerResponse)).filter(({ writableFinished }) => !writableFinished);
  return open.map((response) => {
    const { req, headersSent, writableEnded, writableLength, destroyed } = response;
    const { method, complete, readableLength, readableFlowing } = req;
    const ports = response.socket === null ? {} : portsOf(response.socket);
    return `${method} ${req.url} ${inWords({ complete, readableLength, readableFlowing, headersSent, writableEnded, writableLength, destroyed, ...ports })}`;
  });
}

export function streamFields(socket: Socket): Fields {
  const { bytesRead, bytesWritten, readableLength, readableFlowing, readableEnded, writableLength, writableEnded, writableFinished } = socket;
  return { bytesRead, bytesWritten, readableLength, readableFlowing, readableEnded, writableLength, writableEnded, writableFinished };
}

export function portsOf({ localPort, remotePort }: Socket): Fields {
  return { localPort, remotePort };
}

/** What the kernel holds of connections from or to these ports: state (1 established, 4 to 6 ending, 8 the other end has ended), and bytes unsent and unread. */
export function kernelConnections(ports: readonly number[]): string[] {
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  return rows.flatMap((row) => {
    const [, local = "", remote = "", state = "", queues = "", timer = "", retries = ""] = row.trim().split(/\s+/);
    const [localPort = 0, remotePort = 0] = [local, remote].map((address) => Number.parseInt(address.split(":")[1] ?? "0", 16));
    // 6: TIME_WAIT, 10: LISTEN
    if (state === "06" || state === "0A" || !(ports.includes(localPort) || ports.includes(remotePort))) return [];
    const [unsent = 0, unread = 0] = queues.split(":").map((hexadecimal) => Number.parseInt(hexadecimal, 16));
    return [
      `${localPort} to ${remotePort}: state ${Number.parseInt(state, 16)}, unsent ${unsent}, unread ${unread}, timer ${timer}, retries ${retries}`,
    ];
  });
}

export function inWords(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value === null || typeof value !== "object")
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ");
}

function handedOver(object: unknown): string {
  shared[SHARED] = object;
  return `globalThis[Symbol.for("berth soak objects")]`;
}

async function realObject(session: Session, objectId: string): Promise<unknown> {
  const take = `function () { globalThis[Symbol.for("berth soak objects")] = this; }`;
  await session.post("Runtime.callFunctionOn", { objectId, functionDeclaration: take });
  return shared[SHARED];
}

async function withInspector<Value>(use: (session: Session) => Promise<Value>): Promise<Value> {
  const session = new Session();
  session.connect();
  try {
    return await use(session);
  } finally {
    session.disconnect();
    shared[SHARED] = undefined;
  }
}

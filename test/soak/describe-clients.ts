import { CLIENT } from "../../gateway/exchange/client-machine.ts";
import { ClientConnection } from "../../gateway/exchange/client-connection.ts";
import { EXCHANGE } from "../../gateway/exchange/machine.ts";
import { NodeSocket } from "../../gateway/connections/node-socket.ts";
import { fieldsOf, inWords, objectsOf, streamFields, portsOf } from "./open-objects.ts";
import { Socket } from "node:net";
import { FfiSocket } from "../../gateway/connections/ffi-socket.ts";

type SocketsOfLayer = Map<number, object>;

/** What the gateway in this process knows of the clients that have a request or a part of one, and of their containers. */
export async function describeClients(): Promise<string[]> {
  const sockets = { node: await socketsById(NodeSocket), ffi: await socketsById(FfiSocket) };
  const lines: string[] = [];
  for (const client of await objectsOf(ClientConnection)) {
    const fields = await fieldsOf(client);
    const state = nameIn(CLIENT.state, fields["#state"]);
    if (state === "CLOSED") continue;
    const exchange = fields["#exchange"] as object | undefined;
    lines.push(`client ${state}: ${inWords(fields)}; clock: ${await words(fields["clock"])}; ${await connection(fields["connection"], sockets)}`);
    if (exchange === undefined) continue;
    const ofExchange = await fieldsOf(exchange);
    const { method, target } = ofExchange["head"] as { method: string; target: string };
    lines.push(`  exchange ${nameIn(EXCHANGE.state, ofExchange["#state"])}: ${method} ${target}, ${inWords(ofExchange)}`);
    const side = await fieldsOf(ofExchange["#side"] as object);
    lines.push(`  container side: ${inWords(side)}; record: ${await words(ofExchange["record"])}`);
    const container = side["#container"] as object | undefined;
    if (container === undefined) continue;
    const ofContainer = await fieldsOf(container);
    lines.push(`  container: ${inWords(ofContainer)}; ${await connection(ofContainer["connection"], sockets)}`);
  }
  return lines;
}

async function socketsById(kind: typeof NodeSocket | typeof FfiSocket): Promise<SocketsOfLayer> {
  const byId: SocketsOfLayer = new Map();
  for (const socket of await objectsOf<NodeSocket | FfiSocket>(kind)) byId.set(socket.id, socket);
  return byId;
}

async function connection(of: unknown, sockets: Record<"node" | "ffi", SocketsOfLayer>): Promise<string> {
  const fields = await fieldsOf(of as object);
  const layer = (fields["#layer"] as { name: "node" | "ffi" }).name;
  const socket = sockets[layer].get(fields["#id"] as number);
  const ofSocket = socket === undefined ? {} : await fieldsOf(socket);
  const stream = ofSocket["#stream"];
  const ofStream = stream instanceof Socket ? `; stream: ${inWords({ ...portsOf(stream), ...streamFields(stream) })}` : "";
  return `connection: ${inWords(fields)}; socket of ${layer}: ${inWords(ofSocket)}${ofStream}`;
}

async function words(object: unknown): Promise<string> {
  return inWords(await fieldsOf(object as object));
}

function nameIn(numbers: Readonly<Record<string, number>>, number: unknown): string {
  return Object.entries(numbers).find(([, one]) => one === number)?.[0] ?? String(number);
}

import { Fault } from "../../lib/fault.ts";
import { isRefusedHost } from "../../lib/refused-addresses.ts";
import type { ContainerView, Availability, StartStatus } from "../contract.ts";

/** A container as a Datagrok server reports it. */
export type DatagrokContainer = {
  view: ContainerView;
  /** It is starting or stopping: look it up again soon. */
  transient: boolean;
  /** The server stops it after this many minutes without use. It does not count calls that do not go through it. */
  shutdownMinutes: number | undefined;
  /** For requests that wait for it: its status, and the end of its log. */
  startStatus: StartStatus;
};

type ContainerEntity = { id: string; name: string; onDemand: boolean; address: EntityAddress | undefined; lastLogs: string; status: string };
type EntityAddress = { host: string; port: number };
type StatusRule = { passing?: true; availability(entity: ContainerEntity): Availability };

const awake = ({ address }: ContainerEntity): Availability => (address === undefined ? { kind: "portless" } : availabilityAt(address));
const coming = (): Availability => ({ kind: "coming" });
const stopped = ({ name }: ContainerEntity): Availability => ({
  kind: "stopped",
  fault: { code: "CONTAINER_STOPPED", message: `The container ${name} is not running; a user has to start it.` },
});
const ifOnDemand = (then: Availability) => (entity: ContainerEntity) => (entity.onDemand ? then : stopped(entity));

/** The availability, by the prefix of the server's status text. The first match counts. */
const STATUSES: readonly (readonly [prefix: string, reading: StatusRule])[] = [
  ["started", { availability: awake }],
  ["checking", { availability: awake }],
  ["pending start", { passing: true, availability: coming }],
  ["starting", { passing: true, availability: coming }],
  // A server may lose a start that is requested while the container stops: the gateway waits for the stop, then requests the start.
  ["pending system stop", { passing: true, availability: coming }],
  ["pending", { passing: true, availability: ifOnDemand({ kind: "coming" }) }],
  ["stopping", { passing: true, availability: ifOnDemand({ kind: "coming" }) }],
  ["stopped by system", { availability: () => ({ kind: "asleep" }) }],
  ["stopped", { availability: ifOnDemand({ kind: "asleep" }) }],
  ["error", { availability: failed }],
];

/** Reads the server's entity of a container. Faults: DATAGROK_BROKE_OFF for any other body. */
export function readContainer(body: unknown): DatagrokContainer {
  const entity = readEntity(body);
  const [, reading] = STATUSES.find(([prefix]) => entity.status.startsWith(prefix)) ?? [];
  if (reading === undefined) throw unreadable(`says that the container ${entity.name} is ${JSON.stringify(entity.status.slice(0, 50))}`);
  const view = { id: entity.id, name: entity.name, availability: reading.availability(entity) };
  return {
    view,
    transient: reading.passing === true && view.availability.kind === "coming",
    shutdownMinutes: shutdownOf(body as EntityFields),
    startStatus: { text: `The Datagrok server says that it is ${JSON.stringify(entity.status.slice(0, 50))}. Try again.`, ...lastLines(entity) },
  };
}

type EntityFields = Record<string, unknown>;

function readEntity(body: unknown): ContainerEntity {
  if (!isRecord(body) || typeof body["id"] !== "string" || typeof body["status"] !== "string")
    throw unreadable("sent a reply that is not a container");
  const { id, status } = body;
  const name = [body["name"], body["friendlyName"]].find((one): one is string => typeof one === "string" && one !== "") ?? id;
  const lastLogs = typeof body["lastLogs"] === "string" ? body["lastLogs"] : "";
  return { id: id.toLowerCase(), name, status: status.toLowerCase(), onDemand: isOnDemand(body), address: addressOf(body), lastLogs };
}

/** False if missing: berth then never starts a container that a user stopped. */
function isOnDemand(body: EntityFields): boolean {
  return configs(body).some((config) => config["on_demand"] === true || config["onDemand"] === true);
}

function shutdownOf(body: EntityFields): number | undefined {
  const [minutes] = configs(body)
    .flatMap((config) => [config["shutdown_timeout"], config["shutdownTimeout"]])
    .filter((value): value is number => typeof value === "number" && value > 0);
  return minutes;
}

/** Servers send a container's settings in the entity or in its member `config`. */
function configs(body: EntityFields): EntityFields[] {
  return [body["config"], body].filter(isRecord);
}

/** `address` is a host, or host and port; an IPv6 address with a port is in brackets. */
function addressOf(body: EntityFields): EntityAddress | undefined {
  const address = typeof body["address"] === "string" ? body["address"].trim() : "";
  if (address === "") return undefined;
  const [, bracketed, one, after] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(address) ?? [];
  const host = bracketed ?? one ?? (address.indexOf(":") < address.lastIndexOf(":") ? address : undefined);
  const port = Number(after ?? body["port"]);
  if (host === undefined || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  return { host, port };
}

function availabilityAt(address: EntityAddress): Availability {
  if (!isRefusedHost(address.host)) return { kind: "awake", addresses: [address] };
  const message = `The Datagrok server says that the container is at ${address.host}, which is a link-local address or a cloud's metadata.`;
  return { kind: "failed", fault: { code: "ADDRESS_REFUSED", message }, wakeable: false, retryAt: 0 };
}

/** `retryAt` has passed: the server backs off by itself. */
function failed({ name, onDemand, lastLogs }: ContainerEntity): Availability {
  const logs = lastLines({ lastLogs });
  const message = `The Datagrok server says that the container ${name} failed`;
  return { kind: "failed", fault: { code: "CONTAINER_NOT_READY", message, ...logs }, wakeable: onDemand, retryAt: 0 };
}

const LAST_LINES = 20;

function lastLines({ lastLogs }: Pick<ContainerEntity, "lastLogs">): { logs?: string[] } {
  return lastLogs.trim() === "" ? {} : { logs: lastLogs.trimEnd().split("\n").slice(-LAST_LINES) };
}

function isRecord(value: unknown): value is EntityFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(why: string): Fault {
  return new Fault("DATAGROK_BROKE_OFF", `The Datagrok server ${why}`);
}

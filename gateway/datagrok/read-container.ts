import { Fault } from "../../lib/fault.ts";
import { isRefusedHost } from "../../lib/forbidden-addresses.ts";
import type { ContainerView, Availability } from "../contract.ts";

/** A container as a Datagrok server tells it. */
export type DatagrokContainer = {
  view: ContainerView;
  /** It is on its way to something else: look again soon. */
  transient: boolean;
  /** After so many minutes without use the server stops it; it hears of no use that goes past it. */
  shutdownMinutes: number | undefined;
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

/** What a gateway may do, by how the server's word for the state begins; the first that fits. */
const STATUSES: readonly (readonly [prefix: string, reading: StatusRule])[] = [
  ["started", { availability: awake }],
  ["checking", { availability: awake }],
  ["pending start", { passing: true, availability: coming }],
  ["starting", { passing: true, availability: coming }],
  // A start that is asked for while it stops may be lost on a server: who waits for it waits for its end, and then has it run.
  ["pending system stop", { passing: true, availability: coming }],
  ["pending", { passing: true, availability: ifOnDemand({ kind: "coming" }) }],
  ["stopping", { passing: true, availability: ifOnDemand({ kind: "coming" }) }],
  ["stopped by system", { availability: () => ({ kind: "asleep" }) }],
  ["stopped", { availability: ifOnDemand({ kind: "asleep" }) }],
  ["error", { availability: failed }],
];

/** Reads the entity that the server tells of a container. Faults: DATAGROK_BROKE_OFF for what is none. */
export function readContainer(said: unknown): DatagrokContainer {
  const entity = readEntity(said);
  const [, reading] = STATUSES.find(([prefix]) => entity.status.startsWith(prefix)) ?? [];
  if (reading === undefined) throw unreadable(`says that the container ${entity.name} is ${JSON.stringify(entity.status.slice(0, 50))}`);
  const view = { id: entity.id, name: entity.name, availability: reading.availability(entity) };
  return { view, transient: reading.passing === true && view.availability.kind === "coming", shutdownMinutes: shutdownOf(said as EntityFields) };
}

type EntityFields = Record<string, unknown>;

function readEntity(said: unknown): ContainerEntity {
  if (!isRecord(said) || typeof said["id"] !== "string" || typeof said["status"] !== "string") throw unreadable("answered with what is no container");
  const { id, status } = said;
  const name = [said["name"], said["friendlyName"]].find((one): one is string => typeof one === "string" && one !== "") ?? id;
  const lastLogs = typeof said["lastLogs"] === "string" ? said["lastLogs"] : "";
  return { id: id.toLowerCase(), name, status: status.toLowerCase(), onDemand: isOnDemand(said), address: addressOf(said), lastLogs };
}

/** Not told: then it counts as not on-demand, which never starts what a user has stopped. */
function isOnDemand(said: EntityFields): boolean {
  return configs(said).some((config) => config["on_demand"] === true || config["onDemand"] === true);
}

function shutdownOf(said: EntityFields): number | undefined {
  const [minutes] = configs(said)
    .flatMap((config) => [config["shutdown_timeout"], config["shutdownTimeout"]])
    .filter((value): value is number => typeof value === "number" && value > 0);
  return minutes;
}

/** Servers tell a container's settings in it or in a part of their own. */
function configs(said: EntityFields): EntityFields[] {
  return [said["config"], said].filter(isRecord);
}

/** `address` is a host, or host and port; an IPv6 one with a port stands in brackets. */
function addressOf(said: EntityFields): EntityAddress | undefined {
  const told = typeof said["address"] === "string" ? said["address"].trim() : "";
  if (told === "") return undefined;
  const [, bracketed, one, after] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(told) ?? [];
  const host = bracketed ?? one ?? (told.indexOf(":") < told.lastIndexOf(":") ? told : undefined);
  const port = Number(after ?? said["port"]);
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
  const logs = lastLogs.trim() === "" ? {} : { logs: lastLogs.trimEnd().split("\n").slice(-LAST_LINES) };
  const message = `The Datagrok server says that the container ${name} failed`;
  return { kind: "failed", fault: { code: "CONTAINER_NOT_READY", message, ...logs }, wakeable: onDemand, retryAt: 0 };
}

const LAST_LINES = 20;

function isRecord(value: unknown): value is EntityFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(why: string): Fault {
  return new Fault("DATAGROK_BROKE_OFF", `The Datagrok server ${why}`);
}

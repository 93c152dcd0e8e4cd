import type { Labels, OwnedCall } from "./driver.ts";
import { advisedFault } from "./faults.ts";

/** The label that every service of berth has, whichever store it belongs to. Lists and events are filtered by it. */
export const OURS = "berth.container";
/** The port of the spec. The contract has no such label, but an address needs it. */
const PORT = "berth.port";

export function writeLabels(labels: Labels, port: number | undefined): Record<string, string> {
  return {
    "berth.store": labels.store,
    "berth.environment": labels.environment,
    [OURS]: labels.container,
    "berth.generation": String(labels.generation),
    ...(labels.epoch === undefined ? {} : { "berth.epoch": String(labels.epoch) }),
    ...(port === undefined ? {} : { [PORT]: String(port) }),
  };
}

/** Undefined for a service that berth did not create. */
export function parseLabels(written: Record<string, string> | undefined): Labels | undefined {
  const container = written?.[OURS];
  if (written === undefined || container === undefined) return undefined;
  return {
    store: written["berth.store"] ?? "",
    environment: written["berth.environment"] ?? "",
    container,
    generation: Number(written["berth.generation"] ?? 0),
    ...(written["berth.epoch"] === undefined ? {} : { epoch: Number(written["berth.epoch"]) }),
  };
}

export function readPort(written: Record<string, string> | undefined): number | undefined {
  const port = Number(written?.[PORT]);
  return Number.isInteger(port) && port > 0 ? port : undefined;
}

/** True for every service if no owner is given. */
export function isOwnedBy(holder: Labels | undefined, owner: OwnedCall["owner"]): boolean {
  return owner === undefined || (holder?.store === owner.store && holder.container === owner.container);
}

/** `kind`: what holds the name if berth did not create it. `where` follows "is taken". */
type NameConflict = { kind?: string; where?: string; todo?: string };

/** berth replaces and destroys only what the same container of the same store created. Faults: SPEC_REFUSED. */
export function refuseForeignOwner(
  holder: Labels | undefined,
  { service, labels }: { service: string; labels: Pick<Labels, "store" | "container"> },
  { kind = "service", where = "", todo }: NameConflict = {},
): void {
  if (isOwnedBy(holder, labels)) return;
  const owner = holder ? `container ${holder.container} of another berth (store ${holder.store})` : `a ${kind} that berth did not make`;
  throw advisedFault("SPEC_REFUSED", `The name ${service} is taken${where} by ${owner}`, { todo });
}

/** A DNS label: every orchestrator accepts it as a name, and every gateway can resolve it. */
const SERVICE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** berth creates no service with another name, so a call about one needs no orchestrator. */
export function isServiceName(name: string): boolean {
  return SERVICE_NAME.test(name);
}

/** Faults: SPEC_REFUSED. */
export function refuseBadName(name: string): void {
  if (isServiceName(name)) return;
  const sentence = `"${name.slice(0, 100)}" cannot be a service's name: that is a DNS label, at most 63 of a-z, 0-9 and - that neither begins nor ends with -.`;
  throw advisedFault("SPEC_REFUSED", sentence);
}

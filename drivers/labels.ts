import type { Labels } from "./driver.ts";
import { advisedFault } from "./faults.ts";

/** The label that every container of ours has, whichever store it belongs to: what lists and events are filtered by. */
export const OURS = "berth.container";
/** Not a label of the contract: the port of the spec, so that the address can be told again without it. */
export const PORT = "berth.port";

export function writeLabels(labels: Labels, port: number | undefined): Record<string, string> {
  return {
    "berth.store": labels.store,
    "berth.environment": labels.environment,
    [OURS]: labels.container,
    "berth.generation": String(labels.generation),
    ...(port === undefined ? {} : { [PORT]: String(port) }),
  };
}

/** Undefined for a container that berth did not make. */
export function parseLabels(found: Record<string, string> | undefined): Labels | undefined {
  const container = found?.[OURS];
  if (found === undefined || container === undefined) return undefined;
  return {
    store: found["berth.store"] ?? "",
    environment: found["berth.environment"] ?? "",
    container,
    generation: Number(found["berth.generation"] ?? 0),
  };
}

export function readPort(found: Record<string, string> | undefined): number | undefined {
  const port = Number(found?.[PORT]);
  return Number.isInteger(port) && port > 0 ? port : undefined;
}

/**
 * A name is no claim: what another berth or a person made is not ours to replace. Who holds a name, in words for a sentence; undefined where it is the
 * container that wants it. `unmade` is what holds it where berth did not make that.
 */
export function foreignOwnerOf(
  holder: Labels | undefined,
  { store, container }: Pick<Labels, "store" | "container">,
  unmade = "something that berth did not make",
): string | undefined {
  if (holder === undefined) return unmade;
  if (holder.store === store && holder.container === container) return undefined;
  return `container ${holder.container} of another berth (store ${holder.store})`;
}

/** A DNS label: what every orchestrator takes as a name, and every gateway can resolve. */
const SERVICE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Nothing of another name was ever made, so that asking for it needs no orchestrator. */
export function isServiceName(name: string): boolean {
  return SERVICE_NAME.test(name);
}

/** Faults: SPEC_REFUSED. */
export function refuseBadName(name: string): void {
  if (isServiceName(name)) return;
  const sentence = `"${name.slice(0, 100)}" cannot be a service's name: that is a DNS label, at most 63 of a-z, 0-9 and - that neither begins nor ends with -.`;
  throw advisedFault("SPEC_REFUSED", sentence);
}

import { advisedFault } from "./faults.ts";

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

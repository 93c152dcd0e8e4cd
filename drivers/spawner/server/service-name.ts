import { hash } from "node:crypto";
import { isServiceName } from "../../service-name.ts";
import { Fault } from "../../../lib/fault.ts";
import { trimTrailing } from "../../../lib/trim-trailing.ts";

const LONGEST_LABEL = 63;
const HASH_LENGTH = 8;

/** A service's name at the orchestrator, as berth's own control gives it. Faults: REQUEST_INVALID. */
export function readServiceName(name: string): string {
  if (isServiceName(name)) return name;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} is not a DNS label, which a service's name must be.`);
}

/**
 * The name of a service that a foreign server names: the environment in front, as with everything that a spawner makes. What is no DNS label
 * then is made one, with a hash of its own name at the end so that two stay apart. The same name always becomes the same.
 */
export function foreignName(environment: string, name: string): string {
  const prefix = `${slug(environment).replace(/^\d[-\d]*/, "") || "berth"}-`;
  const whole = name.startsWith(prefix) ? name : prefix + name;
  if (isServiceName(whole)) return whole;
  const room = LONGEST_LABEL - HASH_LENGTH - 1;
  return `${trimTrailing(slug(whole).slice(0, room), "-")}-${hash("sha256", name).slice(0, HASH_LENGTH)}`;
}

function slug(text: string): string {
  const parts = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "");
  return trimTrailing(parts, "-");
}

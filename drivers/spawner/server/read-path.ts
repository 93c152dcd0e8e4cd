import { type Host, HOSTS } from "../../driver.ts";
import { Fault } from "../../../lib/fault.ts";

/** Faults: REQUEST_INVALID. */
export function parseHost(text: string): Host {
  const host = HOSTS.find((one) => one === text);
  if (host) return host;
  throw new Fault("REQUEST_INVALID", `The host ${JSON.stringify(text.slice(0, 100))} is none of ${HOSTS.join(", ")}.`);
}

/** True to deploy, false to destroy. Faults: REQUEST_INVALID. */
export function readCount(n: string): boolean {
  if (n === "1" || n === "0") return n === "1";
  throw new Fault("REQUEST_INVALID", `The number ${JSON.stringify(n.slice(0, 100))} is neither 1, which deploys, nor 0, which destroys.`);
}

/** What `service` and `tag` name; a digest is a tag with a colon in it. Faults: REQUEST_INVALID. */
export function imageNamed(service: string, tag: string): string {
  const ref = `${service}${tag.includes(":") ? "@" : ":"}${tag}`;
  if (/^[\w][\w./:@-]{0,511}$/.test(ref)) return ref;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(ref.slice(0, 200))} names no image.`);
}

const MOST_LINES = 100_000;

/** How many lines of a log. Faults: REQUEST_INVALID. */
export function parseTail(tail: string | undefined, fallback: number): number {
  if (tail === undefined) return fallback;
  if (/^\d{1,9}$/.test(tail)) return Math.min(Number(tail), MOST_LINES);
  throw new Fault("REQUEST_INVALID", `The tail ${JSON.stringify(tail.slice(0, 100))} is no number of lines.`);
}

/** Faults: REQUEST_INVALID. */
export function parseGeneration(text: string | undefined): number | undefined {
  if (text === undefined || /^\d{1,15}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new Fault("REQUEST_INVALID", `The generation ${JSON.stringify(text.slice(0, 100))} is no whole number.`);
}

/** Faults: REQUEST_INVALID. */
export function parseCallId(id: string | undefined): string | undefined {
  if (id === undefined || /^[\w-]{1,64}$/.test(id)) return id;
  throw new Fault("REQUEST_INVALID", `The call ${JSON.stringify(id.slice(0, 100))} is no id.`);
}

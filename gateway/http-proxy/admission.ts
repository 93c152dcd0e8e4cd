import type { IncomingMessage } from "node:http";
import { Fault } from "../../lib/fault.ts";

/** Node's parser takes 0.9 and 2.0 as well, and would answer both as if they were 1.1. */
const VERSIONS = new Set(["1.0", "1.1"]);

/** What Node's parser lets through and a proxy must not, since the next hop might read it in another way. */
export function admissionFault(request: IncomingMessage): Fault | undefined {
  if (!VERSIONS.has(request.httpVersion)) return new Fault("REQUEST_INVALID", "The versions of HTTP taken here are 1.0 and 1.1");
  if (countOf(request.rawHeaders, "host") > 1) return new Fault("REQUEST_INVALID", "A request has exactly one Host header");
  // Anything but printable ASCII in a target is read differently by almost every server.
  if (!/^[\x21-\x7e]+$/.test(request.url ?? "")) return new Fault("REQUEST_INVALID", "The request target has bytes that must be percent-encoded");
  const coding = request.headers["transfer-encoding"];
  if (coding === undefined) return undefined;
  if (coding.toLowerCase() !== "chunked") return new Fault("REQUEST_INVALID", "The only transfer coding taken here is chunked");
  return request.httpVersion === "1.1" ? undefined : new Fault("REQUEST_INVALID", "HTTP/1.0 has no transfer codings");
}

function countOf(rawHeaders: readonly string[], name: string): number {
  return rawHeaders.filter((text, at) => at % 2 === 0 && text.toLowerCase() === name).length;
}

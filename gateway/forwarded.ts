import type { Head, HeaderEdits, HeaderLine, Peer } from "./decision.ts";

/**
 * The edits that tell a target whom it really talks to. The peer is appended to what came before it; scheme and host are kept where
 * a load balancer in front already said them. None of this is used here to decide anything.
 */
export function forwardedEdits(head: Head, peer: Peer, tls: boolean): HeaderEdits {
  const before = head.header("x-forwarded-for");
  const add: HeaderLine[] = [["X-Forwarded-For", before === undefined ? peer.address : `${before}, ${peer.address}`]];
  if (head.header("x-forwarded-proto") === undefined) add.push(["X-Forwarded-Proto", tls ? "https" : "http"]);
  const host = head.header("host");
  if (head.header("x-forwarded-host") === undefined && host !== undefined) add.push(["X-Forwarded-Host", host]);
  return { remove: ["x-forwarded-for"], add };
}

import { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** The descriptor of an established connection that was not read. Undefined for TLS and other streams. Node has no public way to it. */
export function descriptorOf(stream: Duplex): number | undefined {
  if (!(stream instanceof Socket) || "encrypted" in stream || stream.connecting || stream.destroyed) return undefined;
  if (stream.readableLength > 0 || stream.readableEnded || stream.writableLength > 0 || stream.writableEnded) return undefined;
  const descriptor = (stream as unknown as { _handle: { fd?: number } | null })["_handle"]?.fd;
  return descriptor === undefined || descriptor < 0 ? undefined : descriptor;
}

import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

type StreamHandle = { fd?: number; reset?: unknown };

/** What Node reads and writes a stream by. There is no public way to it. */
export function handleOf(stream: Duplex): StreamHandle | undefined {
  return (stream as unknown as { _handle?: StreamHandle | null })["_handle"] ?? undefined;
}

/** Undefined for streams without one of their own, such as those of TLS. */
export function descriptorOf(stream: Duplex): number | undefined {
  const descriptor = handleOf(stream)?.fd;
  return descriptor === undefined || descriptor < 0 ? undefined : descriptor;
}

/** The descriptor of an established connection that was not read. Undefined for TLS and other streams. */
export function unreadDescriptorOf(stream: Duplex): number | undefined {
  if (!(stream instanceof Socket) || stream instanceof TLSSocket || stream.connecting || stream.destroyed) return undefined;
  if (stream.readableLength > 0 || stream.readableEnded || stream.writableLength > 0 || stream.writableEnded) return undefined;
  return descriptorOf(stream);
}

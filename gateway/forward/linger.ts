import type { Duplex } from "node:stream";
import type { Clock } from "../../clock.ts";

/** Ends what is left of a connection that has said all it had to say: its other end may take `ms` to agree, then it is cut off. */
export function linger(socket: Duplex, clock: Clock, ms: number): void {
  if (socket.closed) return;
  if (!socket.writableEnded) socket.end();
  const cancel = clock.after(ms, () => socket.destroy());
  socket.once("close", cancel);
}

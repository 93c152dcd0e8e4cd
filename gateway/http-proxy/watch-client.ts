import type { Socket } from "node:net";

const CLIENT_LEFT = new Error("the client left");

/** Aborts `signal` when the connection closes before `forget` is called. */
export function watchClient(socket: Socket): { signal: AbortSignal; forget(): void } {
  const left = new AbortController();
  const onClose = () => left.abort(CLIENT_LEFT);
  socket.once("close", onClose);
  if (socket.destroyed) onClose();
  return {
    signal: left.signal,
    forget: () => {
      socket.off("close", onClose);
    },
  };
}

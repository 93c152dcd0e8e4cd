import { WebSocket } from "ws";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { at, type Chain, type Echo } from "./check.ts";

/** A WebSocket to the container that answers, past its `CONNECTED`. */
export type EchoSocket = {
  /** Sends a text and resolves with what comes back. */
  echo(text: string): Promise<string>;
  /** Resolves when it has ended, with why. */
  ended: Promise<string>;
  close(): void;
};

/** As Datagrok's client opens it. Faults: CHAIN_BROKEN, with which step failed. */
export async function openEchoSocket({ server }: Chain, { id, token }: Echo, signal: AbortSignal): Promise<EchoSocket> {
  const url = at(server, `/api/docker/containers/proxy-ws/${id}/`).replace(/^http/, "ws");
  const socket = new WebSocket(url, { headers: { authorization: token }, perMessageDeflate: false });
  const stop = () => socket.terminate();
  signal.addEventListener("abort", stop, { once: true });
  const ended = Promise.withResolvers<string>();
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  const fail = (sentence: string, cause?: unknown) => broken.reject(new Fault("CHAIN_BROKEN", sentence, { cause }));
  socket.on("unexpected-response", (_request, { statusCode }) => {
    fail(`The address answers a WebSocket with ${statusCode} and no 101: what stands in front does not pass Upgrade on.`);
    socket.terminate();
  });
  socket.on("error", (cause) => {
    fail(`No WebSocket can be opened: ${reasonOf(cause)}.`, cause);
    ended.resolve(reasonOf(cause));
  });
  socket.on("close", (code, reason) => {
    const said = `${code}${reason.length > 0 ? ` ${reason.toString()}` : ""}`;
    fail(`The WebSocket was closed with ${said}.`);
    ended.resolve(said);
  });
  const next = () =>
    Promise.race([
      broken.promise,
      new Promise<string>((resolve) => {
        // A frame's kind is part of what the client wants: a binary CONNECTED is none.
        socket.once("message", (data: Buffer, isBinary: boolean) => resolve(isBinary ? `binary ${data.toString("hex")}` : data.toString()));
      }),
    ]);
  const first = await next().catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
  if (first !== "CONNECTED") {
    socket.terminate();
    throw new Fault("CHAIN_BROKEN", "The first frame of the WebSocket is not the text CONNECTED.");
  }
  return {
    echo: (text) => {
      const back = next();
      socket.send(text);
      return back;
    },
    ended: ended.promise,
    close: () => {
      signal.removeEventListener("abort", stop);
      socket.terminate();
    },
  };
}

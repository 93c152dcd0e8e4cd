import { connect, type Socket } from "node:net";
import { fail } from "./plan.ts";

export type Client = {
  socket: Socket;
  /** Sends a request, and calls back once its whole answer is there. */
  ask(request: string, done: () => void): void;
  busy: boolean;
};

/** A kept-alive connection that asks one thing at a time and expects 200 with a body of `length` bytes; all else fails the load. */
export function openClient(port: number, length: number): Promise<Client> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let came = "";
    let done: () => void = () => undefined;
    const client: Client = {
      socket,
      busy: false,
      ask: (request, then) => {
        done = then;
        client.busy = true;
        socket.write(request);
      },
    };
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      came += text;
      const end = came.indexOf("\r\n\r\n");
      if (end === -1) return;
      if (!came.startsWith("HTTP/1.1 200")) fail(`the answer was ${came.slice(0, 100)}`);
      const body = came.slice(end + 4);
      const chunked = /^transfer-encoding:/im.test(came.slice(0, end));
      if (chunked ? !body.endsWith("\r\n0\r\n\r\n") : body.length < length) return;
      if (!chunked && body.length > length) fail(`the body had ${body.length} bytes`);
      came = "";
      client.busy = false;
      done();
    });
    socket.once("error", (error) => fail(error.message));
    socket.once("end", () => fail("a connection was closed"));
    socket.once("connect", () => resolve(client));
  });
}

export function requestOf(target: string, key: string, lines: readonly string[] = []): string {
  return [`GET ${target} HTTP/1.1`, "Host: stand.example", `Authorization: ${key}`, ...lines, "", ""].join("\r\n");
}

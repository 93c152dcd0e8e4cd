import { connect, type ClientHttp2Session } from "node:http2";

/** The HTTP/2 connection of one client. It is opened again after it has closed. */
export type ClientSession = { current(): ClientHttp2Session; leave(): void };

export function openClientSession(port: number): ClientSession {
  let session: ClientHttp2Session | undefined;
  return {
    current: () => {
      if (session === undefined || session.closed || session.destroyed) {
        session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
        session.on("error", () => undefined);
      }
      return session;
    },
    leave: () => session?.destroy(),
  };
}

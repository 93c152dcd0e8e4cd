import { connect, type ClientHttp2Session, type Http2Session } from "node:http2";

/** The HTTP/2 connection of one client. It is opened again after it has closed. */
export type ClientSession = { current(): ClientHttp2Session; leave(): void };

/** What the gateway sent about a whole connection, in words. */
const endings = new WeakMap<Http2Session, string[]>();

export function openClientSession(port: number): ClientSession {
  let session: ClientHttp2Session | undefined;
  return {
    current: () => {
      if (session === undefined || session.closed || session.destroyed) session = openSession(port);
      return session;
    },
    leave: () => {
      if (session === undefined) return;
      endings.get(session)?.push("the client left");
      session.destroy();
    },
  };
}

function openSession(port: number): ClientHttp2Session {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const ending: string[] = [];
  endings.set(session, ending);
  session.on("error", (error) => void ending.push(`error ${error.message}`));
  session.on("goaway", (code, lastStream) => void ending.push(`GOAWAY ${code}, last stream ${lastStream}`));
  session.on("close", () => void ending.push("closed"));
  return session;
}

/** What ended the connection of a stream, or may have. */
export function describeSession(session: Http2Session): string {
  const { closed, destroyed, socket } = session;
  const state = destroyed ? "destroyed" : closed ? "closing" : session.connecting ? "connecting" : "open";
  return [`connection ${state} (socket ${destroyed || socket.destroyed ? "closed" : "open"})`, ...(endings.get(session) ?? [])].join(", ");
}

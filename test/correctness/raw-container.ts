import { createServer, type Socket } from "node:net";
import type { Test } from "tap";
import { listen, type ListenAddress } from "../fixtures/server.ts";
import { readHead, type MessageHead } from "./messages.ts";
import { openWire, type Wire } from "./wire.ts";

/** What stands behind the proxy: it writes the bytes that a probe wants, and keeps every byte that came. */
export type RawContainer = {
  address: ListenAddress;
  /** Its connections, in the order in which they were made. */
  links: readonly Wire[];
  /** All that came, over all connections. */
  came(): string;
  /** The heads of requests that came, in order. */
  heads(): readonly MessageHead[];
  /** What to do once a request's head is there; `nth` counts from 0 over all connections. */
  onRequest(act: (link: Wire, nth: number, head: MessageHead) => void): void;
};

const HEAD = /(?:[A-Z]+) \S+ HTTP\/1\.[01]\r\n(?:[^\r\n]+\r\n)*\r\n/g;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

export async function openRawContainer(t: Pick<Test, "teardown">): Promise<RawContainer> {
  const links: Wire[] = [];
  const heads: MessageHead[] = [];
  let act: (link: Wire, nth: number, head: MessageHead) => void = (link) => link.send(OK);
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket: Socket) => {
    const link = openWire(socket);
    links.push(link);
    let at = 0;
    socket.on("data", () => {
      for (;;) {
        const parsedHead = headFrom(link.came(), at);
        if (parsedHead === undefined) return;
        at = parsedHead.end;
        heads.push(parsedHead.head);
        act(link, heads.length - 1, parsedHead.head);
      }
    });
  });
  const address = await listen(t, server);
  return {
    address,
    links,
    came: () => links.map((link) => link.came()).join(""),
    heads: () => heads,
    onRequest: (next) => {
      act = next;
    },
  };
}

/** The next head from `at` on, and where it and its body end; none where they are not known yet. */
function headFrom(came: string, at: number): { head: MessageHead; end: number } | undefined {
  HEAD.lastIndex = at;
  // Long bodies are of no interest.
  const match = at < came.length && came.length < 500_000 ? HEAD.exec(came) : null;
  if (match === null) return undefined;
  const head = readHead(match[0].slice(0, -4));
  const behind = match.index + match[0].length;
  return { head, end: behind + Number(head.values("content-length")[0] ?? 0) };
}

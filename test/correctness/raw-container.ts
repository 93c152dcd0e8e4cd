import { createServer, type Socket } from "node:net";
import type { Test } from "tap";
import { listen, type Address } from "../gateway/stand.ts";
import { readHead, type MessageHead } from "./messages.ts";
import { openWire, type Wire } from "./wire.ts";

/** What stands behind the proxy: it writes the bytes that a probe wants, and keeps every byte that came. */
export type RawContainer = {
  address: Address;
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
    let seen = 0;
    socket.on("data", () => {
      // A long body: the heads are long there.
      if (link.count() > 500_000) return;
      const all = [...link.came().matchAll(HEAD)];
      for (const [text] of all.slice(seen)) {
        seen++;
        const head = readHead(text.slice(0, -4));
        heads.push(head);
        act(link, heads.length - 1, head);
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

import { answered, answersOf, arrived, ask, headFor, judge, type ProbeResponse, type Probed, type CorrectnessRow } from "../row.ts";
import { dial, within, type Wire } from "../wire.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** The promise, and what a busy machine is granted: without the first the second is not met either, but by seconds. */
const PROMPT_MS = 200;
const GRANTED_MS = 1_000;

/** One side goes away, or its connection turns out to be gone. */
export const BROKEN_OFF: readonly CorrectnessRow[] = [
  dies("dies-within-length", "A container that dies within a body of known length", "Content-Length: 100\r\n\r\nabc"),
  dies("dies-within-chunks", "A container that dies within a chunked body", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
  truncated("truncated-until-close", "A body without a length whose connection breaks does not look complete: the client's breaks too", {
    response: "HTTP/1.1 200 OK\r\n\r\npart",
    breaks: (link) => link.socket.resetAndDestroy(),
  }),
  truncated(
    "truncated-chunks-to-1.0",
    "A chunked body whose connection breaks does not look complete to a client of HTTP/1.0 either, which sees no chunks",
    {
      response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
      breaks: (link) => link.socket.end(),
      version: "1.0",
    },
  ),
  {
    id: "bad-chunk",
    asks: "A body whose chunks are no chunks ends without looking complete",
    section: "RFC 9112 §7.1, §8",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => {
        link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        setTimeout(() => link.send("zz\r\nabc\r\n0\r\n\r\n"), 50);
      });
      const { wire, responses } = await ask(proxy, headFor(proxy, "/"));
      return judge(`${responses[0]?.body ?? "nothing"}, ${wire.state()}`, {
        "it is over": wire.state() !== "open",
        "it is not whole": responses[0]?.whole === false,
      });
    },
  },
  leaves("client-leaves-stream", "A client that leaves within a stream", tick, (client) => client.count() > 100),
  leaves("client-leaves-quiet-stream", "A client that leaves a silent stream", begin, (client) => client.count() > 0),
  leaves(
    "client-leaves-before-head",
    "A client that leaves before the response's head",
    () => undefined,
    () => true,
  ),
  {
    id: "client-leaves-upload",
    asks: "A client that leaves within its own body ends the container's side within 200 ms, and the body does not look complete",
    section: "RFC 9112 §8, §9.5",
    probe: async (proxy) => {
      proxy.container.onRequest(() => undefined);
      const client = await dial(proxy);
      client.send(`${headFor(proxy, "/", { method: "POST", lines: ["Transfer-Encoding: chunked"] })}3\r\nabc\r\n`);
      await within(1_000, () => proxy.container.came().includes("abc"));
      const left = performance.now();
      client.socket.destroy();
      const [link] = proxy.container.links;
      const over = await within(GRANTED_MS, () => link !== undefined && link.state() !== "open");
      return judge(over ? `over after ${Math.round((link?.overAt() ?? 0) - left)} ms` : "still open", {
        "the container's connection ends": over,
        "no end is made up": !proxy.container.came().endsWith("\r\n0\r\n\r\n"),
      });
    },
  },
  {
    id: "reused",
    asks: "Requests one after the other use one connection to the container",
    section: "RFC 9112 §9.3",
    probe: async (proxy) => {
      for (let n = 0; n < 3; n++) await ask(proxy, headFor(proxy, `/${n}`));
      return judge(`${proxy.container.heads().length} requests over ${proxy.container.links.length} connections`, {
        one: proxy.container.links.length === 1,
      });
    },
  },
  {
    id: "stale-repeated",
    asks: "A bodyless idempotent request on a reused connection that dies before any byte of the response is sent once more",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const { second, times } = await overStale(proxy, headFor(proxy, "/second"), "GET");
      return judge(`${second.last.start}; sent ${times} times`, { "it is answered": second.last.status === 200 });
    },
  },
  {
    id: "stale-not-repeated",
    asks: "A POST on such a connection is not sent again, with or without a body",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const withBody = await overStale(proxy, `${headFor(proxy, "/second", { method: "POST", lines: ["Content-Length: 4"] })}body`, "POST");
      const bare = await overStale(proxy, headFor(proxy, "/second", { method: "POST", lines: ["Content-Length: 0"] }), "POST");
      return judge(`${withBody.second.last.start} and ${bare.second.last.start}; sent ${withBody.times} and ${bare.times} times`, {
        "sent once, both": withBody.times === 1 && bare.times === 1,
        "a failure, or its end, reported to both": [withBody, bare].every(
          ({ reused, second }) => !reused || (second.last.status !== 200 && isReported(second)),
        ),
      });
    },
  },
  {
    id: "repeated-once",
    asks: "A request is sent again at most once, and not when the container had begun to answer",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const dead = await overStale(proxy, headFor(proxy, "/second"), "GET", (link) => link.socket.resetAndDestroy());
      const begun = await overStale(proxy, headFor(proxy, "/second"), "GET", undefined, "HTTP/1.1 200 O");
      return judge(`${dead.second.last.start} after ${dead.times} tries; begun: ${begun.second.last.start} after ${begun.times}`, {
        "at most twice": dead.times <= 2 && isReported(dead.second),
        "once where it had begun": begun.times === 1 && (!begun.reused || isReported(begun.second)),
      });
    },
  },
];

/** A part of a response, behind which the container's connection breaks. */
function truncated(
  id: string,
  asks: string,
  { response, breaks, version = "1.1" }: { response: string; breaks(link: Wire): void; version?: string },
): CorrectnessRow {
  return {
    id,
    asks,
    section: "RFC 9112 §8",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => {
        link.send(response);
        setTimeout(() => breaks(link), 100);
      });
      const { wire, responses } = await ask(proxy, headFor(proxy, "/", { version }));
      return judge(`${responses[0]?.framing ?? "nothing"}, ${wire.state()}`, {
        "it is over": wire.state() !== "open",
        "not with an end that looks right": responses[0]?.whole === false,
      });
    },
  };
}

function dies(id: string, asks: string, head: string): CorrectnessRow {
  return {
    id,
    asks: `${asks} ends the client's within 200 ms, and it does not look complete`,
    section: "RFC 9112 §8",
    probe: async (proxy) => {
      const times: string[] = [];
      let slow = false;
      let whole = false;
      for (const how of ["end", "resetAndDestroy"] as const) {
        let died = 0;
        proxy.container.onRequest((link) => {
          link.send(`HTTP/1.1 200 OK\r\n${head}`);
          setTimeout(() => {
            died = performance.now();
            link.socket[how]();
          }, 50);
        });
        const { wire, last } = await ask(proxy, headFor(proxy, "/"));
        const ms = (wire.overAt() ?? Infinity) - died;
        times.push(
          last.whole
            ? "it looked complete"
            : ms === Infinity
              ? "still open after 2 s"
              : `${Math.round(ms)} ms${ms > PROMPT_MS ? " (a busy machine)" : ""}`,
        );
        slow ||= ms > GRANTED_MS;
        whole ||= last.whole;
      }
      return judge(`ended: ${times[0]}; broken: ${times[1]}`, { promptly: !slow, "not whole": !whole });
    },
  };
}

function begin(link: Wire): void {
  link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

/** Says something every few milliseconds, as a stream of events does. */
function tick(link: Wire): void {
  begin(link);
  const timer = setInterval(() => (link.state() === "open" && link.socket.writable ? link.send("5\r\nevent\r\n") : clearInterval(timer)), 5);
  link.socket.once("close", () => clearInterval(timer));
}

function leaves(id: string, asks: string, answer: (link: Wire) => void, when: (client: Wire) => boolean): CorrectnessRow {
  return {
    id,
    asks: `${asks}, by an end or a break of its connection, ends the container's side within 200 ms`,
    section: "RFC 9112 §9.5",
    probe: async (proxy) => {
      const times: string[] = [];
      let isAborted = true;
      for (const [nth, how] of (["end", "break"] as const).entries()) {
        proxy.container.onRequest(answer);
        const client = await dial(proxy);
        client.send(headFor(proxy, "/"));
        await arrived(proxy, nth + 1);
        await within(1_000, () => when(client));
        const left = performance.now();
        if (how === "break") client.abort();
        else client.socket.destroy();
        const link = proxy.container.links.at(-1);
        const over = await within(GRANTED_MS, () => link !== undefined && link.state() !== "open");
        isAborted &&= over;
        times.push(over ? `${Math.round((link?.overAt() ?? 0) - left)} ms` : `not within ${GRANTED_MS} ms`);
      }
      return judge(`by an end: ${times[0]}; by a break: ${times[1]}`, { "the container's connection ends": isAborted });
    },
  };
}

function isReported({ last, wire }: ProbeResponse): boolean {
  return last.status >= 500 || (last.status === 0 && wire.state() !== "open");
}

/** Asks twice; the first connection answers once, then dies of its second request. `then`: what the later ones do with theirs. */
async function overStale(proxy: Probed, sent: string, method: string, then?: (link: Wire) => void, lastWords = "") {
  const before = proxy.container.heads().length;
  let first: Wire | undefined;
  let reused = false;
  proxy.container.onRequest((link, nth) => {
    if (nth === before) {
      first = link;
      return link.send(OK);
    }
    if (link !== first) return (then ?? ((other: Wire) => other.send(OK)))(link);
    reused = true;
    return void (lastWords === "" ? link.socket.resetAndDestroy() : link.socket.end(lastWords));
  });
  await ask(proxy, headFor(proxy, "/first"));
  const wire = await dial(proxy);
  wire.send(sent);
  await answered(wire, [method]);
  return { second: answersOf(wire, [method]), times: proxy.container.heads().length - before - 1, reused };
}

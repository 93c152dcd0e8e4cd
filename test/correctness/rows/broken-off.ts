import { answered, answersOf, arrived, ask, headFor, judge, type Probed, type Row } from "../row.ts";
import { dial, within, type Wire } from "../wire.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** What is promised, and what a busy machine is granted: without the first the second is not met either, but by seconds. */
const PROMPT_MS = 200;
const GRANTED_MS = 1_000;

/** One side goes away, or its connection turns out to be gone. */
export const BROKEN_OFF: readonly Row[] = [
  dies("dies-within-length", "A container that dies within a body of known length", "Content-Length: 100\r\n\r\nabc"),
  dies("dies-within-chunks", "A container that dies within a chunked body", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
  {
    id: "truncated-until-close",
    asks: "A body without a length whose connection breaks does not look complete: the client's breaks too",
    section: "RFC 9112 §8",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => {
        link.send("HTTP/1.1 200 OK\r\n\r\npart");
        setTimeout(() => link.socket.resetAndDestroy(), 100);
      });
      const { wire, responses } = await ask(proxy, headFor(proxy, "/"));
      return judge(`${responses[0]?.framing ?? "nothing"}, ${wire.state()}`, {
        "it is over": wire.state() !== "open",
        "not with an end that looks right": responses[0]?.whole === false,
      });
    },
  },
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
  {
    id: "client-leaves-stream",
    asks: "A client that leaves within a stream ends the container's side within 200 ms",
    section: "RFC 9112 §9.5",
    probe: (proxy) =>
      leaves(
        proxy,
        (link) => tick(link),
        (client) => client.count() > 100,
      ),
  },
  {
    id: "client-leaves-before-head",
    asks: "A client whose connection breaks before the response's head ends the container's side within 200 ms",
    section: "RFC 9112 §9.5",
    probe: (proxy) =>
      leaves(
        proxy,
        () => undefined,
        () => true,
      ),
  },
  {
    id: "client-leaves-upload",
    asks: "A client that leaves within its own body ends the container's side within 200 ms, and the body does not look complete",
    section: "RFC 9112 §8, §9.5",
    probe: async (proxy) => {
      proxy.container.onRequest(() => undefined);
      const client = await dial(proxy.port);
      client.send(`${headFor(proxy, "/", { method: "POST", lines: ["Transfer-Encoding: chunked"] })}3\r\nabc\r\n`);
      await within(1_000, () => proxy.container.came().includes("abc"));
      const left = performance.now();
      client.socket.destroy();
      const [link] = proxy.container.links;
      const over = await within(GRANTED_MS, () => link !== undefined && link.state() !== "open");
      return judge(over ? `over after ${Math.round((link?.overAt() ?? 0) - left)} ms` : "still open", {
        "the container hears of it": over,
        "no end is made up": !proxy.container.came().endsWith("\r\n0\r\n\r\n"),
      });
    },
  },
  {
    id: "stale-repeated",
    asks: "A bodyless idempotent request on a reused connection that dies before any byte of the response is sent once more",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const { second, times } = await overStale(proxy, headFor(proxy, "/second"), "GET");
      return judge(`${second.last.start}; asked ${times} times`, { "it is answered": second.last.status === 200, "asked twice": times === 2 });
    },
  },
  {
    id: "stale-not-repeated",
    asks: "A POST on such a connection is not sent again, with or without a body: 502",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const withBody = await overStale(proxy, `${headFor(proxy, "/second", { method: "POST", lines: ["Content-Length: 4"] })}body`, "POST");
      const bare = await overStale(proxy, headFor(proxy, "/second", { method: "POST", lines: ["Content-Length: 0"] }), "POST");
      return judge(`${withBody.second.last.status} and ${bare.second.last.status}; asked ${withBody.times} and ${bare.times} times`, {
        "502, both": withBody.second.last.status === 502 && bare.second.last.status === 502,
        "asked once, both": withBody.times === 1 && bare.times === 1,
      });
    },
  },
  {
    id: "repeated-once",
    asks: "A request is sent again at most once, and not when the container had begun to answer",
    section: "RFC 9110 §9.2.2",
    probe: async (proxy) => {
      const { second, times } = await overStale(proxy, headFor(proxy, "/second"), "GET", (link) => link.socket.resetAndDestroy());
      const begun = await overStale(proxy, headFor(proxy, "/second"), "GET", undefined, "HTTP/1.1 200 O");
      return judge(`${second.last.status} after ${times} tries; begun: ${begun.second.last.status} after ${begun.times}`, {
        "502 after two tries": second.last.status === 502 && times === 2,
        "502 after one where it had begun": begun.second.last.status === 502 && begun.times === 1,
      });
    },
  },
];

function dies(id: string, asks: string, head: string): Row {
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
        times.push(ms === Infinity ? "still open after 2 s" : `${Math.round(ms)} ms${ms > PROMPT_MS ? " (a busy machine)" : ""}`);
        slow ||= ms > GRANTED_MS;
        whole ||= last.whole;
      }
      return judge(`ended: ${times[0]}; broken: ${times[1]}`, { promptly: !slow, "not whole": !whole });
    },
  };
}

/** Says something every few milliseconds, as a stream of events does. */
function tick(link: Wire): void {
  link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const timer = setInterval(() => (link.state() === "open" && link.socket.writable ? link.send("5\r\nevent\r\n") : clearInterval(timer)), 5);
  link.socket.once("close", () => clearInterval(timer));
}

async function leaves(proxy: Probed, answer: (link: Wire) => void, when: (client: Wire) => boolean) {
  proxy.container.onRequest(answer);
  const client = await dial(proxy.port);
  client.send(headFor(proxy, "/"));
  await arrived(proxy);
  await within(1_000, () => when(client));
  const left = performance.now();
  client.socket.resetAndDestroy();
  const [link] = proxy.container.links;
  const over = await within(GRANTED_MS, () => link !== undefined && link.state() !== "open");
  const ms = Math.round((link?.overAt() ?? 0) - left);
  return judge(over ? `over after ${ms} ms` : `still open after ${GRANTED_MS} ms`, { "the container hears of it": over });
}

/** Asks twice; the first connection answers once, then dies of its second request. `then`: what the later ones do with theirs. */
async function overStale(proxy: Probed, sent: string, method: string, then?: (link: Wire) => void, lastWords = "") {
  const before = proxy.container.heads().length;
  let first: Wire | undefined;
  proxy.container.onRequest((link, nth) => {
    if (nth === before) [first] = [link];
    if (nth === before) return link.send(OK);
    if (link !== first) return (then ?? ((other: Wire) => other.send(OK)))(link);
    if (lastWords === "") return void link.socket.resetAndDestroy();
    return void link.socket.end(lastWords);
  });
  await ask(proxy, headFor(proxy, "/first"));
  const wire = await dial(proxy.port);
  wire.send(sent);
  await answered(wire, [method]);
  return { second: answersOf(wire, [method]), times: proxy.container.heads().length - before - 1 };
}

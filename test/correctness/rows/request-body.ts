import { readChunked } from "../messages.ts";
import { answered, answersOf, arrived, ask, firstSeen, headFor, judge, shown, type CorrectnessRow } from "../row.ts";
import { dial, pour, settled, within, type Wire } from "../wire.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const TOTAL = 67_108_864;
/** What the buffers of the system and of a proxy may hold on one way, in bytes. */
const BOUND = 41_943_040;
const PIECE = Buffer.alloc(65_536, "x");
const CHUNK = Buffer.from(`10000\r\n${PIECE.toString()}\r\n`);

/** What becomes of a request's body, and of when it is sent. */
export const REQUEST_BODY: readonly CorrectnessRow[] = [
  {
    id: "expect-end-to-end",
    asks: "`Expect: 100-continue` reaches the container, and the 100 that the client gets is the container's",
    section: "RFC 9110 §10.1.1",
    probe: async (proxy) => {
      proxy.container.onRequest(() => undefined);
      const client = await dial(proxy);
      client.send(headFor(proxy, "/", { method: "POST", lines: ["Expect: 100-continue", "Content-Length: 4"] }));
      const arrivedEarly = await arrived(proxy, 1, 500);
      await settled(500, client.count);
      const early = client.came();
      const [link] = proxy.container.links;
      link?.send("HTTP/1.1 100 Go On\r\nX-Mine: 1\r\n\r\n");
      await within(1_000, () => client.came().includes("100"));
      const replied = client.came();
      client.send("body");
      await within(1_000, () => proxy.container.came().endsWith("body"));
      link?.send(OK);
      await answered(client);
      const expects = firstSeen(proxy).values("expect");
      return judge(
        `${arrivedEarly ? `the container saw Expect: ${expects.join() || "none"}` : "the container saw nothing before the body"}; before it spoke the client had ${shown(early) || "nothing"}; then ${shown(replied, 40)}`,
        {
          "Expect reaches the container": expects.join() === "100-continue",
          "no 100 before the container's": early === "",
          "its 100 reaches the client": replied.startsWith("HTTP/1.1 100 Go On\r\n"),
          "the body follows": proxy.container.came().endsWith("body"),
          "the answer follows": answersOf(client, ["POST"]).last.status === 200,
        },
      );
    },
  },
  {
    id: "expect-refused",
    asks: "A container's refusal instead of 100 is forwarded, and no 100 is invented",
    section: "RFC 9110 §10.1.1",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno"));
      const client = await dial(proxy);
      client.send(headFor(proxy, "/", { method: "POST", lines: ["Expect: 100-continue", "Content-Length: 4"] }));
      await within(2_000, () => client.came().includes("\r\n\r\n"));
      const statuses = answersOf(client, ["POST"])
        .responses.map(({ status }) => status)
        .join(", then ");
      return judge(`the client got ${statuses || "nothing"}`, { "only the refusal": statuses === "401" });
    },
  },
  {
    id: "request-trailers",
    asks: "The trailers of a chunked request reach the container",
    section: "RFC 9112 §7.1.2",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => void within(1_500, () => bodyOf(link.came()).whole).then(() => link.send(OK)));
      await ask(
        proxy,
        `${headFor(proxy, "/", { method: "POST", lines: ["Transfer-Encoding: chunked", "Trailer: X-Sum"] })}3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n`,
        ["POST"],
      );
      const { trailers, body } = bodyOf(proxy.container.came());
      return judge(trailers.join("; ") || "none came", {
        "the trailer came": trailers.join().toLowerCase() === "x-sum: 42",
        "so did the body": body === "abc",
      });
    },
  },
  {
    id: "trailers-as-headers",
    asks: "A trailer that would mean something as a header (framing, `Host`, who asks, from where) does not reach the container",
    section: "RFC 9110 §6.5.1",
    probe: async (proxy) => {
      const lines = [
        "Transfer-Encoding: gzip",
        "Content-Length: 3",
        "Host: evil.example",
        "Authorization: root",
        "X-Forwarded-For: 6.6.6.6",
        "Connection: X-A",
      ];
      const came: string[] = [];
      for (const line of lines) {
        proxy.container.onRequest((link) => void within(500, () => bodyOf(link.came()).whole).then(() => link.send(OK)));
        await ask(
          proxy,
          `${headFor(proxy, "/", { method: "POST", lines: ["Transfer-Encoding: chunked"] })}3\r\nabc\r\n0\r\n${line}\r\n\r\n`,
          ["POST"],
          1_000,
        );
        if (proxy.container.came().toLowerCase().includes(`\r\n0\r\n${line.toLowerCase()}\r\n`)) came.push(line);
      }
      return judge(came.length === 0 ? "none came" : `came: ${came.join("; ")}`, { "none comes": came.length === 0 });
    },
  },
  {
    id: "request-chunks",
    asks: "Chunks of a request arrive at once, while the rest is still to come, with the same bytes",
    section: "RFC 9112 §7.1",
    probe: async (proxy) => {
      proxy.container.onRequest(() => undefined);
      const client = await dial(proxy);
      client.send(`${headFor(proxy, "/", { method: "POST", lines: ["Transfer-Encoding: chunked"] })}3\r\nabc\r\n`);
      const first = await within(1_000, () => bodyOf(proxy.container.came()).body === "abc");
      client.send("A\r\n0123456789\r\n0\r\n\r\n");
      await within(1_000, () => bodyOf(proxy.container.came()).whole);
      proxy.container.links[0]?.send(OK);
      await answered(client);
      return judge(`${first ? "the first chunk came at once" : "nothing came before the end"}; in all ${bodyOf(proxy.container.came()).body}`, {
        "the first one did not wait": first,
        "all came": bodyOf(proxy.container.came()).body === "abc0123456789",
      });
    },
  },
  {
    id: "early-answer",
    asks: "A final response that comes while the body is still being sent reaches the client at once, and whole",
    section: "RFC 9112 §9.3",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.1 413 Too Much\r\nContent-Length: 8\r\n\r\ntoo much"));
      const begun = performance.now();
      const { last } = await ask(proxy, `${headFor(proxy, "/", { method: "POST", lines: ["Content-Length: 1000000"] })}part`, ["POST"]);
      return judge(`${last.start}: ${last.body} after ${Math.round(performance.now() - begun)} ms`, {
        "it is received": last.status === 413,
        "it is whole": last.whole && last.body === "too much",
      });
    },
  },
  {
    id: "early-answer-close",
    asks: "So does one whose container closes its connection behind it, as it must where it does not want the rest",
    section: "RFC 9112 §9.3, §9.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => {
        link.send("HTTP/1.1 413 Too Much\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much");
        link.socket.end();
      });
      const head = headFor(proxy, "/", { method: "POST", lines: ["Content-Length: 1000000"] });
      const { last, wire } = await ask(proxy, `${head}part`, ["POST"]);
      wire.send("another part");
      return judge(`${last.start}: ${last.body}`, { "it is received": last.status === 413, "it is whole": last.whole && last.body === "too much" });
    },
  },
  {
    id: "both-ways-at-once",
    asks: "A response may stream while the request still does: each part of an echo comes back before the next is sent",
    section: "RFC 9112 §9.3",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"));
      const client = await dial(proxy);
      client.send(headFor(proxy, "/", { method: "POST", lines: ["Content-Length: 12"] }));
      let back = "";
      for (const part of ["one;", "two;", "six;"]) {
        client.send(part);
        await within(700, () => proxy.container.came().endsWith(part));
        if (proxy.container.came().endsWith(part)) proxy.container.links[0]?.send(part);
        await within(700, () => client.came().endsWith(part));
        if (client.came().endsWith(part)) back += part;
      }
      return judge(`came back in step: ${back || "nothing"}`, { "each part": back === "one;two;six;" });
    },
  },
  {
    id: "half-close",
    asks: "A client that ends its sending side behind its request still gets the answer",
    section: "RFC 9112 §9.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => void setTimeout(() => link.send(OK), 100));
      const client = await dial(proxy);
      client.socket.end(headFor(proxy, "/"));
      await answered(client);
      const { last } = answersOf(client);
      return judge(last.start, { "it is answered": last.status === 200 && last.body === "ok" });
    },
  },
  {
    id: "half-close-pipelined",
    asks: "A client that ends its sending side behind several requests gets all answers",
    section: "RFC 9112 §9.3.2, §9.6",
    probe: async (proxy) => {
      const client = await dial(proxy);
      client.socket.end(headFor(proxy, "/1") + headFor(proxy, "/2"));
      await answered(client, ["GET", "GET"]);
      const statuses = answersOf(client, ["GET", "GET"]).responses.filter(({ status }) => status >= 200);
      return judge(`answers: ${statuses.map(({ status }) => status).join(", ") || "none"}`, { both: statuses.length === 2 });
    },
  },
  halfClose("half-close-slow", "with a length that pauses for a third of a second within its body", {
    response: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi",
    rest: "ne",
  }),
  halfClose("half-close-chunks", "in chunks that pauses", {
    response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n",
    rest: "2\r\nne\r\n0\r\n\r\n",
  }),
  halfClose("half-close-until-close", "that ends with its connection and pauses", {
    response: "HTTP/1.1 200 OK\r\n\r\nfi",
    rest: "ne",
  }),
  halfClose("half-close-1.0", "in chunks that pauses, as a client of HTTP/1.0", {
    response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n",
    rest: "2\r\nne\r\n0\r\n\r\n",
    version: "1.0",
  }),
  {
    id: "half-close-long",
    asks: "A client that ends its sending side also gets a long answer whose parts come with pauses",
    section: "RFC 9112 §9.6",
    probe: async (proxy) => {
      const part = Buffer.alloc(100_000, "x");
      const total = 20 * part.length;
      proxy.container.onRequest((link) => {
        link.send(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
        const send = (left: number) => {
          link.send(part);
          if (left > 1) setTimeout(send, 15, left - 1);
        };
        send(20);
      });
      const client = await dial(proxy);
      client.socket.end(headFor(proxy, "/"));
      await within(3_000, () => client.state() !== "open" || client.count() > total);
      return judge(`${client.count()} bytes, then ${client.state()}`, { "the whole answer": client.count() > total });
    },
  },
  {
    id: "pipelined",
    asks: "Requests sent at once on one connection are answered in their order, each reaching the container once",
    section: "RFC 9112 §9.3.2",
    probe: async (proxy) => {
      const waits = [150, 40, 0];
      proxy.container.onRequest((link, nth, head) => {
        const path = head.start.split(" ")[1] ?? "";
        void setTimeout(() => link.send(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`), waits[nth]);
      });
      const { responses } = await ask(
        proxy,
        `${headFor(proxy, "/1")}${headFor(proxy, "/2", { method: "POST", lines: ["Content-Length: 5"] })}hello${headFor(proxy, "/3")}`,
        ["GET", "POST", "GET"],
      );
      const bodies = responses.map(({ body }) => body).join(" ");
      const paths = proxy.container.heads().map(({ start }) => start.split(" ")[1] ?? "");
      return judge(`answers: ${bodies}; requests: ${paths.join(" ")}`, {
        "in order": bodies === "/1 /2 /3",
        "each once": paths.length === 3 && new Set(paths).size === 3,
      });
    },
  },
  {
    id: "any-body",
    asks: "A body belongs to any method: GET with a length, DELETE in chunks; a POST without one keeps its `Content-Length: 0`",
    section: "RFC 9110 §9.3, §8.6",
    probe: async (proxy) => {
      const sent = [
        `${headFor(proxy, "/", { lines: ["Content-Length: 4"] })}body`,
        `${headFor(proxy, "/", { method: "DELETE", lines: ["Transfer-Encoding: chunked"] })}4\r\nbody\r\n0\r\n\r\n`,
        headFor(proxy, "/", { method: "POST", lines: ["Content-Length: 0"] }),
      ];
      const framings: string[] = [];
      proxy.container.onRequest((link, nth) => {
        const wanted = nth === 2 ? "" : "body";
        void within(1_000, () => link.came().includes(wanted)).then(() => link.send(OK));
      });
      for (const [nth, bytes] of sent.entries()) {
        const { last } = await ask(proxy, bytes);
        const head = proxy.container.heads()[nth];
        framings.push(`${last.status} ${head?.values("content-length").join() ?? ""}${head?.values("transfer-encoding").join() ?? ""}`);
      }
      const bodies = proxy.container.came().split("body").length - 1;
      return judge(`${framings.join(", ")}; ${bodies} bodies came`, {
        "each with its framing": framings.join() === "200 4,200 chunked,200 0",
        "both bodies": bodies === 2,
      });
    },
  },
  {
    id: "early-answer-rest",
    asks: "The rest of a body whose answer came early is never taken for a request; what follows it is answered, or the connection closed",
    section: "RFC 9112 §9.3, §9.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link, nth) => (nth === 0 ? link.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno") : link.send(OK)));
      const rest = headFor(proxy, "/smuggled");
      const client = await dial(proxy);
      client.send(`${headFor(proxy, "/", { method: "POST", lines: [`Content-Length: ${rest.length + 4}`] })}part`);
      await answered(client, ["POST"]);
      client.send(`${rest}${headFor(proxy, "/next")}`);
      await answered(client, ["POST", "GET"], 1_500);
      const statuses = answersOf(client, ["POST", "GET"]).responses.map(({ status }) => status);
      return judge(`answers: ${statuses.join(", ")}; ${client.state()}`, {
        "no request out of a body": !proxy.container.heads().some(({ start }) => start.includes("/smuggled")),
        "an answer to what follows, or the end": statuses.join() === "413,200" || (statuses.join() === "413" && client.state() !== "open"),
      });
    },
  },
  {
    id: "byte-by-byte",
    asks: "A request and a response that come byte by byte arrive as if they had come at once",
    section: "RFC 9112 §2.2",
    probe: async (proxy) => {
      const answer = "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n";
      proxy.container.onRequest((link) => void within(1_500, () => bodyOf(link.came()).whole).then(() => trickle(link, answer)));
      const client = await dial(proxy);
      await trickle(client, `${headFor(proxy, "/slow", { method: "POST", lines: ["Transfer-Encoding: chunked"] })}4\r\nbody\r\n0\r\n\r\n`);
      await answered(client, ["POST"], 3_000);
      const { last } = answersOf(client, ["POST"]);
      return judge(`out: ${firstSeen(proxy).start}, ${bodyOf(proxy.container.came()).body}; back: ${last.start}, ${last.body}`, {
        out: firstSeen(proxy).start === "POST /slow HTTP/1.1" && bodyOf(proxy.container.came()).body === "body",
        back: last.status === 200 && last.whole && last.body === "ok",
      });
    },
  },
  slowContainer("slow-container", "A container that does not read stops the client's upload", "Content-Length: ", PIECE),
  slowContainer("slow-container-chunks", "So it does an upload in chunks", "Transfer-Encoding: chunked", CHUNK),
  slowClient("slow-client", "A client that does not read stops the container's response", "Content-Length: ", PIECE),
  slowClient("slow-client-chunks", "So it does a response in chunks", "Transfer-Encoding: chunked", CHUNK),
];

function bodyOf(came: string) {
  return readChunked(came.slice(came.indexOf("\r\n\r\n") + 4)).message;
}

function slowContainer(id: string, asks: string, framing: string, piece: Buffer): CorrectnessRow {
  return {
    id,
    asks: `${asks}: what is taken in is bounded; later all of it arrives`,
    section: "RFC 9293 §3.8.6",
    probe: async (proxy) => {
      const total = (TOTAL / PIECE.length) * piece.length;
      proxy.container.onRequest((link) => link.socket.pause());
      const client = await dial(proxy);
      client.send(headFor(proxy, "/", { method: "POST", lines: [framing.endsWith(" ") ? `${framing}${total}` : framing] }));
      await arrived(proxy);
      const poured = pour(client.socket, total, piece);
      const taken = await settled(6_000, poured.taken);
      const [link] = proxy.container.links;
      link?.socket.resume();
      const all = await within(8_000, () => (link?.count() ?? 0) >= total && poured.done());
      return judge(`${megabytes(taken)} of ${megabytes(total)} taken, then ${all ? "all of it" : "not all"}`, {
        bounded: taken < BOUND,
        "it goes on": all,
      });
    },
  };
}

function slowClient(id: string, asks: string, framing: string, piece: Buffer): CorrectnessRow {
  return {
    id,
    asks: `${asks}: what is taken in is bounded; later all of it arrives`,
    section: "RFC 9293 §3.8.6",
    probe: async (proxy) => {
      const total = (TOTAL / PIECE.length) * piece.length;
      let taken = () => 0;
      proxy.container.onRequest((link) => {
        link.send(`HTTP/1.1 200 OK\r\n${framing.endsWith(" ") ? `${framing}${total}` : framing}\r\n\r\n`);
        taken = pour(link.socket, total, piece).taken;
      });
      const client = await dial(proxy);
      client.socket.pause();
      client.send(headFor(proxy, "/"));
      await arrived(proxy);
      const held = await settled(6_000, () => taken());
      client.socket.resume();
      const all = await within(8_000, () => client.count() > TOTAL);
      return judge(`${megabytes(held)} of ${megabytes(total)} taken, then ${all ? "all of it" : "not all"}`, {
        bounded: held < BOUND,
        "it goes on": all,
      });
    },
  };
}

/** One byte after the other, each in a packet of its own as far as the system goes along. */
async function trickle(wire: Wire, text: string): Promise<void> {
  for (const byte of text) {
    wire.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

/** An answer that the container sends in two parts, to a client that has ended its sending side. */
function halfClose(
  id: string,
  asks: string,
  { response, rest, version = "1.1" }: { response: string; rest: string; version?: string },
): CorrectnessRow {
  return {
    id,
    asks: `A client that ends its sending side also gets an answer ${asks}`,
    section: "RFC 9112 §9.6",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => {
        link.send(response);
        setTimeout(() => link.socket.end(rest), 333);
      });
      const client = await dial(proxy);
      client.socket.end(headFor(proxy, "/", { version }));
      await answered(client);
      const { last } = answersOf(client);
      return judge(`${last.start}: ${last.body}, ${client.state()}`, { "the whole answer": last.whole && last.body === "fine" });
    },
  };
}

import { answersOf, ask, headFor, judge, shown, type CorrectnessRow } from "../row.ts";
import { within } from "../wire.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** What becomes of a response. */
export const RESPONSE: readonly CorrectnessRow[] = [
  {
    id: "response-hop-by-hop",
    asks: "Of a response, too, what `Connection` names ends at the proxy, and so do `Keep-Alive` and `Proxy-Connection`",
    section: "RFC 9110 §7.6.1",
    probe: async (proxy) => {
      proxy.container.onRequest((link) =>
        link.send(
          "HTTP/1.1 200 OK\r\nX-Bar: 1\r\nConnection: X-Bar\r\nKeep-Alive: timeout=999\r\nProxy-Connection: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
        ),
      );
      const { last } = await ask(proxy, headFor(proxy, "/"));
      const leaked = last.lines.filter((line) => /x-bar|timeout=999|proxy-connection/i.test(line));
      return judge(leaked.length === 0 ? "none came" : `came: ${leaked.join("; ")}`, {
        "none travels on": leaked.length === 0,
        "the others do": last.values("x-kept").length === 1,
      });
    },
  },
  {
    id: "response-head-untouched",
    asks: "Status, reason phrase, and the header lines with their order, case, repetitions and bytes beyond ASCII stay the container's own",
    section: "RFC 9110 §5.3, RFC 9112 §4",
    probe: async (proxy) => {
      const head = [
        "HTTP/1.1 418 Gr\xfc\xdfe",
        "X-Zeta: 1",
        "x-ALPHA: caf\xe9",
        "Set-Cookie: a=1",
        "X-zeta: 2",
        "SET-COOKIE: b=2; Path=/",
        "Content-Length: 3",
      ];
      proxy.container.onRequest((link) => link.send(`${head.join("\r\n")}\r\n\r\ntea`));
      const { wire } = await ask(proxy, headFor(proxy, "/"));
      const came = wire.came().split("\r\n\r\n", 1)[0] ?? "";
      return judge(shown(came, 300), {
        "line for line": came.startsWith(head.join("\r\n")),
        "no line made up but for the connection's own": came
          .split("\r\n")
          .slice(head.length)
          .every((line) => /^(connection|keep-alive):/i.test(line)),
        "the body too": wire.came().endsWith("\r\n\r\ntea"),
      });
    },
  },
  {
    id: "empty-reason",
    asks: "An empty reason phrase stays empty",
    section: "RFC 9112 §4",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"));
      const { last } = await ask(proxy, headFor(proxy, "/"));
      return judge(shown(last.start), { "nothing is made up": last.start === "HTTP/1.1 299 " });
    },
  },
  {
    id: "chunks-untouched",
    asks: "Chunks keep their sizes, extensions and trailers: a chunked body is the bytes that came",
    section: "RFC 9112 §7.1",
    probe: async (proxy) => {
      const body = "3;sig=abc\r\nabc\r\n00A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n";
      proxy.container.onRequest((link) => link.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`));
      const { responses } = await ask(proxy, headFor(proxy, "/"));
      const raw = responses[0]?.raw ?? "";
      return judge(shown(raw), { "byte for byte": raw === body });
    },
  },
  {
    id: "early-hints",
    asks: "103 Early Hints reach the client before the response",
    section: "RFC 8297",
    probe: async (proxy) => {
      let go = () => undefined as unknown;
      proxy.container.onRequest((link) => {
        link.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
        go = () => link.send(OK);
        setTimeout(() => go(), 100);
      });
      const { responses } = await ask(proxy, headFor(proxy, "/"));
      const summary = responses.map(({ status }) => status).join(", then ");
      return judge(`the client got ${summary}`, {
        "both, in order": summary === "103, then 200",
        "with its line": responses[0]?.values("link").join() === "</a.css>; rel=preload",
      });
    },
  },
  {
    id: "interim",
    asks: "Every interim response travels on: 102, an unknown 1xx, several of them",
    section: "RFC 9110 §15.2",
    probe: async (proxy) => {
      proxy.container.onRequest((link) =>
        link.send(`HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 199 Odd\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Hints\r\nX-B: 2\r\n\r\n${OK}`),
      );
      const { responses } = await ask(proxy, headFor(proxy, "/"));
      const summary = responses.map(({ start }) => start.slice(9)).join(", then ");
      return judge(`the client got ${summary}`, { all: summary === "102 Wait, then 199 Odd, then 103 Hints, then 200 OK" });
    },
  },
  {
    id: "interim-to-1.0",
    asks: "A client of HTTP/1.0 gets no interim response, which it would take for the final one",
    section: "RFC 9110 §15.2",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send(`HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n${OK}`));
      const { responses } = await ask(proxy, headFor(proxy, "/", { version: "1.0" }));
      const summary = responses.map(({ status }) => status).join(", then ");
      return judge(`the client got ${summary}`, { "only the final one": summary === "200" });
    },
  },
  {
    id: "response-trailers",
    asks: "The trailers of a chunked response reach the client",
    section: "RFC 9110 §6.5",
    probe: async (proxy) => {
      proxy.container.onRequest((link) =>
        link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n"),
      );
      const { responses } = await ask(proxy, headFor(proxy, "/", { lines: ["TE: trailers", "Connection: TE"] }));
      const trailers = responses[0]?.trailers ?? [];
      return judge(trailers.join("; ") || "none came", {
        "the trailer came": trailers.join().toLowerCase() === "x-sum: 42",
        "so did the body": responses[0]?.body === "abc",
      });
    },
  },
  {
    id: "bodyless",
    asks: "Answers to HEAD, 204 and 304 end with their head, whatever length they announce, and the connection goes on",
    section: "RFC 9112 §6.3",
    probe: async (proxy) => {
      const heads = [
        "200 OK\r\nContent-Length: 77",
        "204 No Content",
        "304 Not Modified\r\nContent-Length: 99",
        "200 OK\r\nTransfer-Encoding: chunked",
        "200 OK\r\nContent-Length: 2",
      ];
      const methods = ["HEAD", "GET", "GET", "HEAD", "GET"];
      proxy.container.onRequest((link, nth) => link.send(`HTTP/1.1 ${heads[nth]}\r\n\r\n${nth === 4 ? "ok" : ""}`));
      const { responses, rest } = await ask(proxy, methods.map((method, nth) => headFor(proxy, `/${nth}`, { method })).join(""), methods);
      const summary = responses.map(({ status, framing }) => `${status} ${framing}`).join(", ");
      return judge(summary, {
        "all five, on one connection": responses.map(({ status }) => status).join() === "200,204,304,200,200",
        "the announced length stays": responses[0]?.values("content-length").join() === "77",
        "nothing is left over": rest === "" && responses.at(-1)?.body === "ok",
      });
    },
  },
  {
    id: "until-close",
    asks: "A body that ends with its connection does so for the client too, byte for byte",
    section: "RFC 9112 §6.3",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.socket.end("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end"));
      const { responses, wire } = await ask(proxy, headFor(proxy, "/"));
      const [response] = responses;
      return judge(`${response?.framing ?? "nothing"}, ${shown(response?.raw ?? "")}, ${wire.state()}`, {
        "the same bytes": response?.raw === "until the end",
        "ended by the connection": response?.framing === "close" && wire.state() === "ended",
      });
    },
  },
  {
    id: "to-1.0-client",
    asks: "A client of HTTP/1.0 gets a chunked body without its chunks, ended by the connection",
    section: "RFC 9112 §6.1",
    probe: async (proxy) => {
      proxy.container.onRequest((link) =>
        link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n"),
      );
      const { responses, wire } = await ask(proxy, headFor(proxy, "/", { version: "1.0" }));
      const [response] = responses;
      return judge(`${response?.framing ?? "nothing"}: ${shown(response?.raw ?? "")}`, {
        "no transfer coding is named": response?.values("transfer-encoding").length === 0,
        "the bare body": response?.raw === "abcdefg",
        "and the end": wire.state() === "ended",
      });
    },
  },
  {
    id: "keep-alive-1.0",
    asks: "A client of HTTP/1.0 that requests `keep-alive` gets it, with the header; without the request its connection is closed",
    section: "RFC 9112 §9.3",
    probe: async (proxy) => {
      const twice = headFor(proxy, "/", { version: "1.0", lines: ["Connection: keep-alive"] });
      const kept = await ask(proxy, twice);
      kept.wire.send(twice);
      await within(1_500, () => kept.wire.state() !== "open" || answersOf(kept.wire, ["GET", "GET"]).responses.length === 2);
      const both = answersOf(kept.wire, ["GET", "GET"]).responses;
      const plain = await ask(proxy, headFor(proxy, "/", { version: "1.0" }));
      await within(1_000, () => plain.wire.state() !== "open");
      return judge(
        `with the header: ${both.length} answers, Connection: ${both[0]?.values("connection").join() ?? ""}; without: ${plain.wire.state()}`,
        {
          "two answers on one connection": both.length === 2,
          "it is reported": both[0]?.values("connection").join().toLowerCase() === "keep-alive",
          "who does not ask is closed": plain.wire.state() === "ended" && plain.last.status === 200,
        },
      );
    },
  },
  {
    id: "container-closes",
    asks: "A container that sends `Connection: close`, or uses HTTP/1.0, gets no other request on that connection; the client's own stays open",
    section: "RFC 9112 §9.3, §9.6",
    probe: async (proxy) => {
      const first = ["HTTP/1.1 200 OK\r\nConnection: close", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK"];
      proxy.container.onRequest((link, nth) => link.send(`${first[nth]}\r\nContent-Length: 2\r\n\r\nok`));
      const { responses } = await ask(proxy, headFor(proxy, "/1") + headFor(proxy, "/2") + headFor(proxy, "/3"), ["GET", "GET", "GET"]);
      return judge(`${responses.length} answers to one client, ${proxy.container.links.length} connections to the container`, {
        "each answered": responses.map(({ status }) => status).join() === "200,200,200",
        "a connection each": proxy.container.links.length === 3,
      });
    },
  },
  {
    id: "client-closes",
    asks: "A client that says `Connection: close` is closed after its answer, and nothing that it sends behind that is answered",
    section: "RFC 9112 §9.6",
    probe: async (proxy) => {
      const { responses, wire } = await ask(proxy, headFor(proxy, "/1", { lines: ["Connection: close"] }) + headFor(proxy, "/2"), ["GET", "GET"]);
      return judge(`${responses.length} answers, Connection: ${responses[0]?.values("connection").join() ?? ""}, ${wire.state()}`, {
        "one answer": responses.length === 1,
        "it says so": responses[0]?.values("connection").join().toLowerCase() === "close",
        "and closes": wire.state() !== "open",
      });
    },
  },
  {
    id: "own-version",
    asks: "A request goes out and a response comes back with the proxy's own version, whatever the other side speaks",
    section: "RFC 9112 §2.3",
    probe: async (proxy) => {
      proxy.container.onRequest((link) => link.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"));
      const { last } = await ask(proxy, headFor(proxy, "/", { version: "1.0" }));
      const start = proxy.container.heads()[0]?.start ?? "";
      return judge(`out: ${start}; back: ${last.start}`, {
        "the request": start.endsWith(" HTTP/1.1"),
        "the response": last.start === "HTTP/1.1 200 OK",
      });
    },
  },
  {
    id: "surplus",
    asks: "What a container sends beyond its response, or as the body of one that has none, reaches no client: neither this one nor the next",
    section: "RFC 9112 §6.3",
    probe: async (proxy) => {
      const bad = [
        "200 OK\r\nContent-Length: 2\r\n\r\nok",
        "200 OK\r\nContent-Length: 40\r\n\r\n",
        "204 No Content\r\n\r\n",
        "304 Not Modified\r\nContent-Length: 40\r\n\r\n",
      ];
      const methods = ["GET", "HEAD", "GET", "GET"];
      let came = "";
      let good = 0;
      for (const [nth, method] of methods.entries()) {
        proxy.container.onRequest((link, _, head) =>
          link.send(head.start.includes("/bad") ? `HTTP/1.1 ${bad[nth]}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil` : OK),
        );
        const one = await ask(proxy, headFor(proxy, "/bad", { method }), [method]);
        const two = await ask(proxy, headFor(proxy, "/bad", { method }) + headFor(proxy, "/good"), [method, "GET"]);
        const three = await ask(proxy, headFor(proxy, "/good"));
        came += one.wire.came() + two.wire.came() + three.wire.came();
        good += [two, three].filter(({ last }) => last.body === "ok" && last.status === 200).length;
      }
      return judge(
        `${good} of 8 good requests answered over ${proxy.container.links.length} connections${came.includes("evil") ? "; the surplus came" : ""}`,
        {
          "all are answered": good === 8,
          "no client sees it": !came.includes("evil"),
        },
      );
    },
  },
  {
    id: "ambiguous-response",
    asks: "A response that could be read in two ways (length beside chunked, two lengths, odd codings, bare LF, a folded line) is a 502",
    section: "RFC 9112 §6.3, §2.2",
    probe: async (proxy) => {
      const heads = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: +3",
        "Transfer-Encoding: gzip, chunked",
        "Content-Length: 3\nX-A: 1",
        "Content-Length: 3\r\nX-A: 1\r\n folded",
        "Content-Length : 3",
      ];
      const summary: number[] = [];
      for (const lines of heads) {
        proxy.container.onRequest((link) => link.send(`HTTP/1.1 200 OK\r\n${lines}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`));
        summary.push((await ask(proxy, headFor(proxy, "/"))).last.status);
      }
      return judge(summary.join(" "), { "each is a 502": summary.every((status) => status === 502) });
    },
  },
];

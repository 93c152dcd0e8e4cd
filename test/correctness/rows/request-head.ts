import { answersOf, ask, firstSeen, headFor, headTo, judge, shown, type Probed, type CorrectnessRow, type RowResult } from "../row.ts";
import { dial, within } from "../wire.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: stand.example\r\n\r\n";

/** What a proxy does with a request's head. */
export const REQUEST_HEAD: readonly CorrectnessRow[] = [
  {
    id: "connection-named",
    asks: "A header that `Connection` names ends at the proxy; the others travel on",
    section: "RFC 9110 §7.6.1",
    probe: async (proxy) => {
      await ask(proxy, headFor(proxy, "/", { lines: ["X-Secret: 1", "Connection: keep-alive, X-Secret", "X-Kept: 1"] }));
      const head = firstSeen(proxy);
      return judge(`the container saw ${shown(head.lines.join("; "), 300)}`, {
        "the named header ends here": head.values("x-secret").length === 0,
        "the other one travels on": head.values("x-kept").length === 1,
      });
    },
  },
  {
    id: "hop-by-hop",
    asks: "`Keep-Alive`, `TE`, `Proxy-Authorization`, `Proxy-Connection` and `Upgrade: h2c` end at the proxy",
    section: "RFC 9110 §7.6.1, §11.7.2",
    probe: async (proxy) => {
      const lines = ["Keep-Alive: timeout=5", "TE: gzip", "Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive", "Upgrade: h2c"];
      const { last } = await ask(proxy, headFor(proxy, "/", { lines }));
      const head = firstSeen(proxy);
      const leaked = ["keep-alive", "te", "proxy-authorization", "proxy-connection", "upgrade"].filter((name) => head.values(name).length > 0);
      return judge(leaked.length === 0 ? "none came" : `came: ${leaked.join(", ")}`, {
        "the request is answered": last.status === 200,
        "none of them travels on": leaked.length === 0,
      });
    },
  },
  {
    id: "forged-forwarded-for",
    asks: "An `X-Forwarded-For` of an untrusted client is replaced by that client's address",
    section: "RFC 7239 §8.1",
    probe: async (proxy) => {
      await ask(proxy, headFor(proxy, "/", { lines: ["X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 7.7.7.7"] }));
      const values = firstSeen(proxy).values("x-forwarded-for");
      return judge(`X-Forwarded-For: ${values.join(" | ")}`, { "it names the peer alone": values.join("|") === "127.0.0.1" });
    },
  },
  {
    id: "underscore-header",
    asks: "`X_Auth_User`, which CGI-like servers cannot tell from `X-Auth-User`, is dropped",
    section: "RFC 3875 §4.1.18",
    probe: async (proxy) => {
      await ask(proxy, headFor(proxy, "/", { lines: ["X_Auth_User: admin"] }));
      const dropped = !/auth_user/i.test(proxy.container.came());
      return judge(dropped ? "dropped" : "passed on", {
        "it is dropped": dropped,
        "the rest is there": firstSeen(proxy).values("host").length === 1,
      });
    },
  },
  {
    id: "length-and-chunked",
    asks: "`Content-Length` beside `Transfer-Encoding` is refused with 400, and the connection closed",
    section: "RFC 9112 §6.1",
    probe: (proxy) =>
      refused(
        proxy,
        `${headFor(proxy, "/", { method: "POST", lines: ["Content-Length: 4", "Transfer-Encoding: chunked"] })}0\r\n\r\n${SMUGGLED}`,
        [400],
      ),
  },
  {
    id: "odd-codings",
    asks: "Transfer codings other than exactly `chunked`, and any of them in HTTP/1.0, are refused",
    section: "RFC 9112 §6.1, §6.3",
    probe: (proxy) =>
      eachRefused(
        ["gzip, chunked", "chunked, chunked", "xchunked", "identity", "chunked;a=b", "\x0bchunked", "chunked\r\nTransfer-Encoding: chunked"]
          .map((coding) => headFor(proxy, "/", { method: "POST", lines: [`Transfer-Encoding: ${coding}`] }))
          .concat(headFor(proxy, "/", { method: "POST", version: "1.0", lines: ["Transfer-Encoding: chunked"] }))
          .map((head) => `${head}0\r\n\r\n${SMUGGLED}`),
        proxy,
        [400, 422, 501],
      ),
  },
  {
    id: "odd-lengths",
    asks: "Lengths that differ, are signed, are empty or are no digits are refused with 400",
    section: "RFC 9110 §8.6",
    probe: (proxy) =>
      eachRefused(
        ["4\r\nContent-Length: 5", "4, 5", "+4", "-4", "0x4", "4 4", "", "99999999999999999999999"].map(
          (length) => `${headFor(proxy, "/", { method: "POST", lines: [`Content-Length: ${length}`] })}aaaa${SMUGGLED}`,
        ),
        proxy,
        [400, 413],
      ),
  },
  {
    id: "two-hosts",
    asks: "Two `Host` headers, or none in HTTP/1.1, are refused with 400",
    section: "RFC 9112 §3.2",
    probe: (proxy) =>
      eachRefused(
        [
          headFor(proxy, "/", { lines: ["Host: other.example"] }),
          headFor(proxy, "/", { lines: ["host: stand.example"] }),
          headFor(proxy, "/", { host: "" }),
        ],
        proxy,
        [400],
      ),
  },
  {
    id: "malformed-heads",
    asks: "Folded lines, a bare CR, NUL, spaces before a colon and a nameless header are refused with 400",
    section: "RFC 9112 §2.2, §5",
    probe: (proxy) =>
      eachRefused(
        [
          ...["X-A: 1\r\n folded", "X-A: 1\rX-B: 2", "X-A: \x00", "X-A : 1", ": 1", "X-A", "X(A): 1"].map((line) =>
            headFor(proxy, "/", { lines: [line] }),
          ),
          headFor(proxy, "/").replace("\r\n", "\r\n X-A: 1\r\n"),
        ],
        proxy,
        [400],
      ),
  },
  {
    id: "bare-lf",
    asks: "A line that ends with LF alone is refused with 400: it may be read as an end or as a part of the line",
    section: "RFC 9112 §2.2",
    probe: (proxy) => eachRefused([headFor(proxy, "/", { lines: ["X-A: 1\nX-B: 2"] }), headFor(proxy, "/").replaceAll("\r\n", "\n")], proxy, [400]),
  },
  {
    id: "request-line",
    asks: "A request line with anything but one space between its parts is refused with 400",
    section: "RFC 9112 §3",
    probe: (proxy) =>
      eachRefused(
        [
          [" HTTP", "  HTTP"],
          ["GET ", "GET  "],
          ["GET ", "GET\t"],
          ["GET ", " GET "],
          ["1.1\r\n", "1.1 \r\n"],
        ].map(([from = "", to = ""]) => headFor(proxy, "/").replace(from, to)),
        proxy,
        [400],
      ),
  },
  {
    id: "empty-line-first",
    asks: "An empty line before the request line is passed over",
    section: "RFC 9112 §2.2",
    probe: async (proxy) => {
      const { last } = await ask(proxy, `\r\n${headFor(proxy, "/")}`);
      return judge(last.start, { "it is answered": last.status === 200 });
    },
  },
  {
    id: "odd-targets",
    asks: "Bytes in a target that must be percent-encoded are refused with 400",
    section: "RFC 9112 §3.2",
    probe: (proxy) =>
      eachRefused(
        ["/caf\xe9", "/\x7f", "/a\tb", "/\x01", "/\xc3\xa9?x"].map((path) => headFor(proxy, path)),
        proxy,
        [400],
      ),
  },
  {
    id: "odd-versions",
    asks: "A version of another major number, of another protocol or none at all is refused with 400 or 505",
    section: "RFC 9112 §2.3, RFC 9110 §2.5",
    probe: (proxy) =>
      eachRefused(
        ["HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "ICE/1.0", "http/1.1", "HTTP/1.1x"]
          .map((version) => headFor(proxy, "/").replace("HTTP/1.1", version))
          .concat(`GET ${proxy.at("/")}\r\n\r\n`),
        proxy,
        [400, 505],
      ),
  },
  {
    id: "odd-methods",
    asks: "A method that is no token is refused with 400",
    section: "RFC 9110 §9.1",
    probe: (proxy) =>
      eachRefused(
        ["G@T", "GET\x00", "(GET)", ""].map((method) => headFor(proxy, "/", { method })),
        proxy,
        [400, 405, 501],
      ),
  },
  {
    id: "unknown-methods",
    asks: "An unregistered method is refused with 501, and so is HTTP/1.2 with 400 or 505",
    section: "RFC 9110 §15.6.2",
    own: true,
    probe: async (proxy) => {
      const methods = await eachRefused(
        ["BREW", "get", "X"].map((method) => headFor(proxy, "/", { method })),
        proxy,
        [501],
      );
      const version = await refused(proxy, headFor(proxy, "/", { version: "1.2" }), [400, 505]);
      return { targets: `${methods.targets}; 1.2: ${version.targets}`, missed: [...methods.missed, ...version.missed] };
    },
  },
  {
    id: "absolute-form",
    asks: "`GET http://other.example/abs` arrives as `/abs` with `Host: other.example`; where it came with another `Host`, so too or refused with 400",
    section: "RFC 9112 §3.2.2",
    probe: async (proxy) => {
      const target = `http://other.example${proxy.at("/abs")}`;
      await ask(proxy, headTo(proxy, target, { host: "other.example" }));
      const { last } = await ask(proxy, headTo(proxy, target));
      const [same, other] = proxy.container.heads().map(({ start, values }) => `${start}, Host: ${values("host").join(" | ")}`);
      const right = "GET /abs HTTP/1.1, Host: other.example";
      return judge(`${same ?? "nothing"}; with another Host: ${other ?? last.start}`, {
        "in origin form": same === right,
        "never with another Host": other === right || (other === undefined && last.status === 400),
      });
    },
  },
  untouched("dot-segments", "`/a/../b` and `/a/%2e%2e/b` arrive as they are", ["/a/../b", "/a/%2e%2e/b", "/./a/."]),
  untouched("odd-percent", "`/%zz` arrives as it is", ["/%zz", "/%", "/a%2"]),
  untouched("double-slash", "`//x//y` arrives as it is", ["//x//y", "/x//", "//"]),
  untouched("odd-query", "A query arrives byte for byte, with its `?`, `;`, bars and quotes", ["/?", "/a?b?c=/../d&e=%20+;'\"|{}\\^`", "/??"]),
  {
    id: "head-untouched",
    asks: "Header lines keep their order, their case and their bytes beyond ASCII",
    section: "RFC 9110 §5.3, §5.5",
    probe: async (proxy) => {
      const lines = ["x-ZETA: 1", "X-Alpha: 2", "x-zeta: 3", "X-Latin: caf\xe9", "X-Utf: \xc3\xa9", "X-Empty:", 'X-Odd: a;b="c, d"  e'];
      await ask(proxy, headFor(proxy, "/", { lines }));
      const came = firstSeen(proxy).lines.filter((line) => /^x-(zeta|alpha|latin|utf|empty|odd):/i.test(line));
      return judge(`came: ${shown(came.join("; "), 200)}`, {
        "line for line": came.map((line) => line.trimEnd()).join("\n") === lines.join("\n"),
      });
    },
  },
  {
    id: "head-too-long",
    asks: "A head of more than 64 KiB is refused with 431",
    section: "RFC 6585 §5",
    probe: (proxy) => refused(proxy, headFor(proxy, "/", { lines: [`X-Long: ${"x".repeat(66_000)}`] }), [431]),
  },
  {
    id: "too-many-lines",
    own: true,
    asks: "A head of more than 200 lines is refused with 431; one of 150 is not",
    section: "RFC 6585 §5",
    probe: async (proxy) => {
      const many = (count: number) => headFor(proxy, "/", { lines: Array.from({ length: count }, (_, n) => `X-${n}: ${n}`) });
      const fits = (await ask(proxy, many(150))).last.status;
      const { last } = await ask(proxy, many(201));
      return judge(`150 lines: ${fits}; 201 lines: ${last.status}`, { "150 pass": fits === 200, "201 do not": last.status === 431 });
    },
  },
  {
    id: "head-never-ends",
    own: true,
    asks: "A head that never ends meets its time-out: 408, or the connection closed",
    section: "RFC 9110 §15.5.9",
    limits: { headersTimeoutMs: 300 },
    probe: async (proxy) => {
      const begun = performance.now();
      const wire = await dial(proxy);
      wire.send(headFor(proxy, "/", { lines: ["X-A: 1"] }).slice(0, -2));
      await within(1_500, () => wire.state() !== "open");
      const { last } = answersOf(wire);
      const ms = Math.round((wire.overAt() ?? performance.now()) - begun);
      const over = wire.state() !== "open";
      return judge(over ? `${last.start} after ${ms} ms` : `still open after ${ms} ms`, {
        "it is over": over,
        "nothing but 408 is sent": last.status === 0 || last.status === 408,
        "the container received nothing": proxy.container.came() === "",
      });
    },
  },
];

function untouched(id: string, asks: string, paths: readonly string[]): CorrectnessRow {
  return {
    id,
    asks,
    section: "RFC 3986 §6, RFC 9110 §7.6",
    probe: async (proxy) => {
      const targets: string[] = [];
      for (const path of paths) {
        const { last } = await ask(proxy, headFor(proxy, path));
        const head = proxy.container.heads()[targets.length];
        targets.push(head === undefined ? `${path}: ${last.start}` : (head.start.split(" ")[1] ?? ""));
      }
      return judge(`came: ${targets.join(" ")}`, { "each is what was sent": targets.join(" ") === paths.join(" ") });
    },
  };
}

async function refused(proxy: Probed, sent: string, statuses: readonly number[]): Promise<RowResult> {
  const methods = ["POST", "GET"];
  const wire = await dial(proxy);
  wire.send(sent);
  const readStatuses = () => answersOf(wire, methods).responses.map(({ status }) => status);
  await within(2_000, () => wire.state() !== "open" || readStatuses().some((status) => !statuses.includes(status)));
  return judge(`${readStatuses().join(" and ") || "no answer"}, ${wire.state()}; the container saw ${proxy.container.heads().length} requests`, {
    "an answer says so, and nothing else": readStatuses().length === 1 && statuses.includes(readStatuses()[0] ?? 0),
    "the connection is closed": wire.state() !== "open",
    "the container hears nothing": proxy.container.came() === "",
  });
}

async function eachRefused(all: readonly string[], proxy: Probed, statuses: readonly number[]): Promise<RowResult> {
  const bad: string[] = [];
  for (const sent of all) {
    const before = proxy.container.came().length;
    const result = await refused({ ...proxy, container: { ...proxy.container, came: () => proxy.container.came().slice(before) } }, sent, statuses);
    if (result.missed.length > 0) bad.push(`${shown(sent, 200)}: ${result.targets}`);
  }
  return judge(bad.length === 0 ? `all ${all.length} refused` : bad.join(" / "), { "each is refused": bad.length === 0 });
}

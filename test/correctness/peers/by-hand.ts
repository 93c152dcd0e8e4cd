/** What other proxies did with the same questions: measured by hand, on these versions, with configurations as they come. */
export const PEERS = [
  "http-proxy 1.18.1",
  "http-proxy-3 1.23.3",
  "httpxy 0.5.6",
  "@fastify/http-proxy 11.6.3",
  "configurable-http-proxy 5.3.0",
  "nginx 1.26.3",
  "HAProxy 3.0.11",
  "Caddy 2.6.2",
] as const;

type Cell = string;

export type PeerRow = {
  /** The row of ours that asks this. */
  id: string;
  property: string;
  /** In the order of `PEERS`; bold is wrong or dangerous. */
  cells: readonly [Cell, Cell, Cell, Cell, Cell, Cell, Cell, Cell];
};

const NO = "**no**";

export const PEER_ROWS: readonly PeerRow[] = [
  { id: "connection-named", property: "a header named in `Connection` is stripped", cells: [NO, NO, NO, "yes", NO, NO, NO, "yes"] },
  {
    id: "hop-by-hop",
    property: "hop-by-hop headers that leak",
    cells: [
      "**Keep-Alive, TE, Proxy-Authorization**",
      "**Keep-Alive, TE, Proxy-Authorization**",
      "**Keep-Alive, TE, Proxy-Authorization**",
      "**Proxy-Authorization; 500 where the client sends Keep-Alive**",
      "**Keep-Alive, TE, Proxy-Authorization**",
      "Proxy-Authorization",
      "Keep-Alive, Proxy-Authorization",
      "none",
    ],
  },
  {
    id: "forged-forwarded-for",
    property: "a forged `X-Forwarded-For: 6.6.6.6`",
    cells: [
      "appended to",
      "appended to",
      "**passed, own address not added**",
      "**passed, own address not added**",
      "appended to",
      "appended to",
      "own header added beside it",
      "replaced",
    ],
  },
  {
    id: "underscore-header",
    property: "`X_Auth_User`",
    cells: ["**passed**", "**passed**", "**passed**", "**passed**", "**passed**", "dropped", "**passed**", "dropped"],
  },
  {
    id: "length-and-chunked",
    property: "`Content-Length` beside `Transfer-Encoding`",
    cells: ["400", "400", "400", "400", "400", "400", "200, one request", "200, both pipelined requests ran"],
  },
  { id: "two-hosts", property: "two `Host` headers", cells: ["**200**", "**200**", "**200**", "**200**", "**200**", "400", "400", "400"] },
  {
    id: "absolute-form",
    property: "`GET http://evil/abs`",
    cells: ["`Host` kept", "`Host` kept", "**path becomes `/http://evil…`**", "400", "`Host` kept", "`Host: evil`", "400", "`Host: evil`"],
  },
  {
    id: "dot-segments",
    property: "`/a/../b`, `/a/%2e%2e/b`",
    cells: ["as it is", "**becomes `/b`**", "as it is", "400", "**becomes `/b`**", "as it is", "as it is", "as it is"],
  },
  { id: "odd-percent", property: "`/%zz`", cells: ["passed", "passed", "passed", "400", "**500**", "400", "passed", "400"] },
  {
    id: "double-slash",
    property: "`//x//y`",
    cells: ["**becomes `/x/y`**", "as it is", "as it is", "**400**", "as it is", "as it is", "as it is", "as it is"],
  },
  {
    id: "dies-within-length",
    property: "the upstream dies within a body: the client",
    cells: ["**hangs over 12 s**", "**hangs over 12 s**", "closed after 110 ms", "closed", "**hangs over 12 s**", "closed", "closed", "closed"],
  },
  { id: "early-hints", property: "103 Early Hints", cells: ["no", "no", "no", "no", "no", "yes", "yes", "yes"] },
  { id: "response-trailers", property: "trailers", cells: ["no", "no", "no", "no", "no", "no", "yes", "yes"] },
  {
    id: "expect-end-to-end",
    property: "`Expect: 100-continue`: the 100 is",
    cells: ["**its own**", "**its own**", "**its own**", "**its own, then 500**", "**its own**", "its own", "the upstream's", "its own, then 401"],
  },
  {
    id: "upgrade-refused",
    property: "an upgrade refused with a chunked body",
    cells: ["**broken framing**", "passed", "passed", "**101, although the upstream sent 401**", "passed", "passed", "passed", "passed"],
  },
  { id: "upgrade-cookies", property: "two `Set-Cookie` on a 101", cells: ["2", "2", "2", "**0**", "2", "2", "2", "2"] },
  {
    id: "client-leaves-stream",
    property: "a client leaves a stream: the upstream is closed",
    cells: ["**no**", "yes", "yes", "yes", "yes", "yes", "yes", "yes"],
  },
  {
    id: "client-leaves-before-head",
    property: "a client leaves before the head: the upstream is closed",
    cells: ["**no**", "yes", "yes", "**no**", "yes", "yes", "no", "yes"],
  },
  {
    id: "server-traffic-counts",
    property: "what an upstream says over a WebSocket counts as activity",
    cells: ["–", "–", "–", "–", "**no**", "–", "–", "–"],
  },
];

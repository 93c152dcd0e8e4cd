import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { mapCookies } from "../../lib/cookies.ts";
import { Fault } from "../../lib/fault.ts";
import { echoHead, exchange, ID, openContainer, openStand, PATH, WS_PATH } from "./stand.ts";

/** Tokens of the shape that berth gives them. */
const [ADA, ADAS_DERIVED, BOB, BOBS_DERIVED, FOREIGN] = ["A", "a", "B", "b", "F"].map((letter) => letter.repeat(43)) as [
  string,
  string,
  string,
  string,
  string,
];
const person = (login: string, derivedToken?: string) => ({ userId: login, login, admin: false, ...(derivedToken ? { derivedToken } : {}) });

async function open(t: Test) {
  const stand = await openStand(t);
  stand.tokens.set(ADA, person("ada", ADAS_DERIVED)).set(ADAS_DERIVED, person("ada", ADAS_DERIVED)).set(BOB, person("bob", BOBS_DERIVED));
  const upgrades: IncomingMessage[] = [];
  const { address, server } = await openContainer(t, echoHead);
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (_, request) => void upgrades.push(request));
  stand.set(ID, { kind: "awake", address });
  /** The lines that the container sees of these. */
  const forwarded = async (lines: string[]) => {
    const head = [`GET ${PATH}/ HTTP/1.1`, "Host: stand.example", ...lines, "Connection: close", "", ""].join("\r\n");
    const answer = await exchange(stand.port, head);
    if (!answer.startsWith("HTTP/1.1 200")) return answer.slice(0, 12);
    const { rawHeaders } = JSON.parse(answer.slice(answer.indexOf("{"))) as { rawHeaders: string[] };
    const tokens: string[] = [];
    for (let at = 0; at < rawHeaders.length; at += 2) {
      const name = rawHeaders[at] ?? "";
      if (/^(authorization|cookie|x-.*key|other)$/i.test(name)) tokens.push(`${name}: ${rawHeaders[at + 1]}`);
    }
    return tokens.toSorted();
  };
  return { stand, forwarded, upgrades };
}

const KEY = `x-user-api-key: ${ADAS_DERIVED}`;

t.test("a container is given a token that is derived of the session's, wherever that stood; all else stays", async (t) => {
  const { forwarded, stand } = await open(t);
  const rows: [sent: string[], seen: string[] | string][] = [
    [[`Authorization: ${ADA}`], [`Authorization: ${ADAS_DERIVED}`, KEY]],
    [[`Authorization: Bearer ${ADA}`], [`Authorization: Bearer ${ADAS_DERIVED}`, KEY]],
    [
      [`x-user-api-key: ${ADA}`, "Other: 1"],
      ["Other: 1", KEY],
    ],
    [[`Cookie: a=1;  auth=${ADA}; b="x y"`], [`Cookie: a=1;  auth=${ADAS_DERIVED}; b="x y"`, KEY]],
    [[`Cookie: auth="${ADA.replace(/^A/, "%41")}"`], [`Cookie: auth=${ADAS_DERIVED}`, KEY]],
    [
      [`Authorization: ${ADA}`, `Cookie: auth=${ADA}`, `x-user-api-key: ${ADA}`],
      [`Authorization: ${ADAS_DERIVED}`, `Cookie: auth=${ADAS_DERIVED}`, KEY],
    ],
    // Another session in the same request is one all the same.
    [
      [`Authorization: ${ADA}`, `Cookie: auth=${BOB}`],
      [`Authorization: ${ADAS_DERIVED}`, `Cookie: auth=${BOBS_DERIVED}`, KEY],
    ],
    [
      [`x-user-api-key: ${ADA}`, `Authorization: Bearer ${BOB}`],
      [`Authorization: Bearer ${BOBS_DERIVED}`, KEY],
    ],
    // A text that is no token is the container's business.
    [
      ["x-user-api-key: their own", `Authorization: ${ADA}`],
      [`Authorization: ${ADAS_DERIVED}`, "x-user-api-key: their own"],
    ],
    [
      ["Authorization: Basic dTpw", `Cookie: auth=${ADA}`],
      ["Authorization: Basic dTpw", `Cookie: auth=${ADAS_DERIVED}`, KEY],
    ],
    [
      [`Authorization: Bearer ${FOREIGN}`, `Cookie: auth=${ADA}`],
      [`Authorization: Bearer ${FOREIGN}`, `Cookie: auth=${ADAS_DERIVED}`, KEY],
    ],
    [[`x-other-key: ${FOREIGN}`, `Authorization: ${ADA}`], [`Authorization: ${ADAS_DERIVED}`, `x-other-key: ${FOREIGN}`, KEY].toSorted()],
    // Of a derived token, the derived one is itself.
    [[`Authorization: ${ADAS_DERIVED}`], [`Authorization: ${ADAS_DERIVED}`, KEY]],
    // Wherever it stands in a value, and however often.
    [
      [`x-user-api-key: ${ADA}`, `Authorization: Custom a="${ADA}", b=${ADA}`],
      [`Authorization: Custom a="${ADAS_DERIVED}", b=${ADAS_DERIVED}`, KEY],
    ],
    // More than are looked at: what may be a session's goes no further.
    [[`Cookie: auth=${ADA}; auth=1; auth=2; auth=3; auth=${BOB}; auth=5`], [`Cookie: auth=${ADAS_DERIVED}; auth=1; auth=2; auth=3; auth=5`, KEY]],
    // The consoles' cookies never pass the edge.
    [
      [`Authorization: ${ADA}`, "Cookie: x=1; berth-console=secret; y=2"],
      [`Authorization: ${ADAS_DERIVED}`, "Cookie: x=1; y=2", KEY],
    ],
    [
      [`Authorization: ${ADA}`, "Cookie: berth-registry=secret"],
      [`Authorization: ${ADAS_DERIVED}`, KEY],
    ],
  ];
  for (const [sent, expected] of rows) t.same(await forwarded(sent), expected, sent.join(", ").slice(0, 90));
  stand.tokens.set(FOREIGN, new Fault("CONTROL_AWAY", "control is away"));
  t.match(
    await forwarded([`Authorization: ${ADA}`, `Cookie: auth=${FOREIGN}`]),
    "HTTP/1.1 503",
    "what may be a session, and cannot be looked up, goes nowhere",
  );
});

t.test("WebSockets through both routes do the same", async (t) => {
  const { stand, upgrades } = await open(t);
  for (const path of [PATH, WS_PATH]) {
    const headers = { authorization: ADA, cookie: `x=1; auth=${ADA}; berth-console=secret` };
    const socket = new WebSocket(`${stand.base.replace("http", "ws")}${path}/ws`, { headers });
    if (path === WS_PATH) await once(socket, "message");
    else await once(socket, "open");
    t.match(upgrades.pop()?.headers, { authorization: ADAS_DERIVED, cookie: `x=1; auth=${ADAS_DERIVED}`, "x-user-api-key": ADAS_DERIVED });
    socket.close();
    await once(socket, "close");
  }
});

t.test("where the server behind knows the sessions, the token itself goes on", async (t) => {
  const { forwarded, stand } = await open(t);
  stand.tokens.set(ADA, person("ada"));
  t.same(await forwarded([`Authorization: ${ADA}`]), [`Authorization: ${ADA}`, `x-user-api-key: ${ADA}`]);
  t.same(await forwarded([`Cookie: auth=${ADA}`]), [`Cookie: auth=${ADA}`, `x-user-api-key: ${ADA}`]);
});

t.test("cookies are rewritten one by one", async (t) => {
  const take = (header: string) => mapCookies(header, (name, value) => (name === "gone" ? undefined : name === "new" ? "2" : value));
  for (const [header, expected] of [
    ["gone=1; a=1", "a=1"],
    ["a=1; gone=1", "a=1"],
    ["gone=1", ""],
    ["a=1;b=2 ; new=1;c", "a=1;b=2 ; new=2;c"],
    ["a=b=c; new=", "a=b=c; new=2"],
    ["gone=1; gone=2;  x", "x"],
  ] as const)
    t.equal(take(header), expected, header);
});

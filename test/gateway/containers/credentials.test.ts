import t from "tap";
import { credentials } from "../../../lib/sign-in.ts";
import type { Fault } from "../../../lib/fault.ts";
import { authenticate, cachedCaller, credentialEdits } from "../../../gateway/containers/credentials.ts";
import { CallerEdits } from "../../../gateway/caller-edits.ts";
import type { Caller } from "../../../gateway/contract.ts";
import { CredentialHeaders } from "../../../lib/sign-in.ts";
import { checkOrigin, preflightResponse, originLines } from "../../../gateway/containers/origins.ts";
import { parseRoute, routeKind } from "../../../gateway/containers/route.ts";
import { permittedOrigin } from "../../../lib/browser-requests.ts";
import { originForm } from "../../../gateway/http1/message-heads.ts";
import type { Head, HeadSpans } from "../../../gateway/decision.ts";
import { ADA, openTestDirectory } from "../../fixtures/directory.ts";
import { exchange, get, ID, openContainer, openStand, PATH, WS_PATH } from "../stand.ts";

const head = (headers: Record<string, string>, method = "GET"): Head => ({ method, target: "/", upgrade: false, header: (name) => headers[name] });
const never = new AbortController().signal;

t.test("credentials count in the order key, Authorization, cookie", async (t) => {
  const rows: [headers: Record<string, string>, tokens: string[]][] = [
    [{}, []],
    [{ "x-user-api-key": "a", authorization: "b", cookie: "auth=c" }, ["a", "b", "c"]],
    [{ authorization: "Bearer b" }, ["b"]],
    [{ authorization: "bearer   b" }, ["b"]],
    [{ authorization: "Basic YTpi", cookie: "auth=c" }, ["c"]],
    [{ cookie: "x=auth=no; auth=a%2Bb%3D; other=1" }, ["a+b="]],
    [{ cookie: 'auth="quoted"' }, ["quoted"]],
    [{ cookie: "auth=%zz" }, ["%zz"]],
    [{ cookie: "auth=" }, []],
    [{ cookie: "auth=first; auth=second" }, ["first", "second"]],
    [{ "x-user-api-key": "same", cookie: "auth=same" }, ["same"]],
    [{ "x-user-api-key": "x".repeat(5_000) }, []],
    [{ cookie: "auth=a; auth=a;auth=b ;auth=c;auth=d;auth=e" }, ["a", "b", "c", "d"]],
    [{ "x-user-api-key": "k", authorization: "k", cookie: "auth=a;auth=k;auth=b;auth=c;auth=d" }, ["k", "a", "b", "c"]],
    [{ cookie: ';auth=";auth' }, ['"']],
    [{ cookie: `${"auth=;".repeat(15)}auth=a;auth=b` }, ["a"]],
  ];
  for (const [headers, tokens] of rows) {
    t.same(
      [...credentials(head(headers).header)].map(({ token }) => token),
      tokens,
      JSON.stringify(headers).slice(0, 80),
    );
  }
});

t.test("the first valid credential wins, wherever it stands", async (t) => {
  const { identity } = openTestDirectory();
  t.match(await authenticate(identity, head({ "x-user-api-key": "bad", authorization: "their own", cookie: "auth=token" }), never), {
    from: "cookie",
    caller: { login: "ada", token: "token" },
  });
  t.match(await authenticate(identity, head({ "x-user-api-key": "token", cookie: "auth=token" }), never), { from: "key" });
  const code = (headers: Record<string, string>) => authenticate(identity, head(headers), never).catch((fault: Fault) => fault.code);
  t.equal(await code({}), "TOKEN_MISSING");
  t.equal(await code({ cookie: "other=1" }), "TOKEN_MISSING");
  t.equal(await code({ authorization: "Basic YTpi" }), "TOKEN_INVALID");
  t.equal(await code({ "x-user-api-key": "bad", cookie: "auth=worse" }), "TOKEN_INVALID");
});

t.test("the edits that are made once for a caller are those that each request would make", async (t) => {
  const [token, derivedToken] = ["T".repeat(43), "d".repeat(43)];
  const callers: Caller[] = [
    { ...ADA, token, derivedToken },
    { ...ADA, token },
    { ...ADA, token, derivedToken: token },
  ];
  const rows: Record<string, string>[] = [
    { "x-user-api-key": token },
    { authorization: token },
    { authorization: `Bearer ${token}` },
    { authorization: `bearer ${token}` },
    { authorization: `Bearer  ${token}` },
    { "x-user-api-key": "", authorization: token },
    { "x-user-api-key": token, authorization: `Bearer ${token}` },
    { "x-user-api-key": token, cookie: "theme=dark" },
    { cookie: `auth=${token}` },
  ];
  for (const caller of callers) {
    for (const headers of rows) {
      const read = new CredentialHeaders(head(headers));
      t.equal(read.token, token);
      const edits = (holder: Caller) => {
        const { removed, add, written } = credentialEdits(holder, read.from, { headers: read, others: [], examined: [] });
        return { removed, lines: [...add, ...(written?.lines() ?? [])] };
      };
      t.same(edits({ ...caller, edits: new CallerEdits(token, caller.derivedToken) }), edits(caller), JSON.stringify(headers));
    }
  }
});

/** A head whose lines are bytes, as those of a socket are. */
function headInBytes(headers: Record<string, string>): Head {
  const spanOf = (text: string) => ({ bytes: Buffer.from(`>${text}<`, "latin1"), start: 1, end: text.length + 1 });
  const spans: HeadSpans = {
    hasHeader: (name) => headers[name] !== undefined,
    headerSpan: (name) => (headers[name] === undefined ? undefined : spanOf(headers[name].trim())),
    targetSpan: () => spanOf("/"),
  };
  return { ...head(headers), spans };
}

t.test("a caller is the same by bytes and by text", async (t) => {
  const { identity, tokens } = openTestDirectory();
  const [token, derivedToken] = ["T".repeat(43), "d".repeat(43)];
  tokens.set(token, { ...ADA, derivedToken });
  const values = [
    "",
    token,
    "token",
    "Bearer",
    `Bearer ${token}`,
    "Bearer token",
    `bearer ${token}`,
    `Bearer  ${token}`,
    "Basic YTpi",
    `Bearer ${token} x`,
  ];
  const cookies = [undefined, "theme=dark", `auth=${token}`, "auth=token"];
  for (const key of [undefined, ...values]) {
    for (const authorization of [undefined, ...values]) {
      for (const cookie of cookies) {
        const sent = { "x-user-api-key": key, authorization, cookie };
        const headers = Object.fromEntries(Object.entries(sent).filter((entry): entry is [string, string] => entry[1] !== undefined));
        t.same(cachedCaller(identity, headInBytes(headers)), cachedCaller(identity, head(headers)), JSON.stringify(headers));
      }
    }
  }
});

t.test("a request with thousands of cookies is tried with four of them, and refused at once", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (request, response) => void response.end(request.headers.authorization));
  stand.set(ID, { kind: "awake", address });
  const flood = Array.from({ length: 5_000 }, (_, at) => `auth=${at}`).join(";");
  const ask = (lines: string[]) => exchange(stand.port, [`GET ${PATH} HTTP/1.1`, "Host: x", "Connection: close", ...lines, "", ""].join("\r\n"));
  t.match(await ask([`Cookie: ${flood}`]), /^HTTP\/1\.1 401 /);
  // The first one is looked up once more, to see whether it is known without asking.
  t.same([...new Set(stand.questions)], ["0", "1", "2", "3"]);
  stand.questions.length = 0;
  t.match(await ask([`Cookie: ${flood};auth=token`]), /^HTTP\/1\.1 401 /, "a valid one behind them does not count");
  t.equal(new Set(stand.questions).size, 4);
  const passed = await ask(["Authorization: JupyterToken", "Cookie: auth=stale; auth=token; auth=more; auth=others"]);
  t.match(passed, /^HTTP\/1\.1 200 /);
  t.match(passed, /JupyterToken/, "what is not ours to judge reaches the container");
});

t.test("a route is read byte for byte", async (t) => {
  const rows: [target: string, path: string][] = [
    [PATH, "/"],
    [`${PATH}/`, "/"],
    [`${PATH}?a`, "/?a"],
    [`${PATH}#x`, "/#x"],
    [`${PATH}//a/%2e%2e`, "//a/%2e%2e"],
    [`HTTPS://u:p@h:1${PATH}/x`, "/x"],
  ];
  for (const [target, path] of rows) t.same(parseRoute("proxy", originForm(target)), { kind: "proxy", id: ID, path }, target);
  t.same(parseRoute("proxy-ws", `${WS_PATH.toUpperCase().replace("/API/DOCKER/CONTAINERS/PROXY-WS", "/api/docker/containers/proxy-ws")}/ws`), {
    kind: "proxy-ws",
    id: ID,
    path: "/ws",
  });
  for (const target of [
    "/",
    "*",
    "/api",
    "/api/docker/containers",
    "//api/docker/containers/proxy/x",
    "/api/docker/containers/%70roxy/x",
    "/API/docker/containers/proxy/x",
  ]) {
    t.equal(routeKind(target), undefined, target);
  }
  for (const id of ["", "x", `${ID}0`, ID.slice(1), `${ID}%20`, ID.replaceAll("-", "")])
    t.throws(() => parseRoute("proxy", PATH.replace(ID, id)), { code: "ID_INVALID" }, id);
});

t.test("a permitted page of another origin gets its preflight without signing in, others do not", async (t) => {
  const stand = await openStand(t, { origins: ["https://good.example"] });
  const { address } = await openContainer(t, (_, response) => {
    if (response.req.url === "/own") response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("X-Total", "3");
    response.end("body");
  });
  stand.set(ID, { kind: "awake", address });
  const preflight = (origin: string) =>
    exchange(
      stand.port,
      `OPTIONS ${PATH} HTTP/1.1\r\nHost: x\r\nOrigin: ${origin}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a, authorization\r\nConnection: close\r\n\r\n`,
    );
  const good = await preflight("https://good.example");
  t.match(good, /^HTTP\/1\.1 204 No Content\r\n/);
  for (const line of [
    "Access-Control-Allow-Origin: https://good.example",
    "Access-Control-Allow-Credentials: true",
    "Access-Control-Allow-Methods: PUT",
    "Access-Control-Allow-Headers: x-a, authorization",
  ]) {
    t.ok(good.includes(`${line}\r\n`), line);
  }
  t.match(await preflight("https://evil.example"), /^HTTP\/1\.1 401 /);
  const called = await exchange(stand.port, get(PATH, ["Origin: https://good.example"]));
  t.match(called, /\r\nAccess-Control-Allow-Origin: https:\/\/good\.example\r\n/);
  t.match(called, /\r\nAccess-Control-Expose-Headers: [^\r]*x-total/);
  const own = await exchange(stand.port, get(`${PATH}/own`, ["Origin: https://good.example"]));
  t.match(own, /Allow-Origin: \*/, "what the container says of it passes as it is");
  t.notMatch(own, /good\.example/);
  t.notMatch(await exchange(stand.port, get(PATH, ["Origin: https://evil.example"])), /Access-Control/);
  const refused = await exchange(stand.port, get(`${PATH.slice(0, -1)}0`, ["Origin: https://good.example"]));
  t.match(refused, /^HTTP\/1\.1 404 /);
  t.match(refused, /\r\nAccess-Control-Allow-Origin: https:\/\/good\.example\r\n/, "our own refusals can be read too");
});

t.test("a foreign page changes nothing with the browser's cookie", async (t) => {
  const refused = (method: string, headers: Record<string, string>, upgrade = false) => {
    try {
      checkOrigin({ ...head({ host: "stand.example", ...(upgrade ? { upgrade: "websocket" } : {}), ...headers }, method), upgrade }, [
        "https://good.example",
      ]);
      return false;
    } catch (fault) {
      return (fault as Fault).code === "ORIGIN_NOT_PERMITTED";
    }
  };
  const rows: [what: string, headers: Record<string, string>, refused: boolean][] = [
    ["no browser", {}, false],
    ["the same host", { origin: "https://stand.example" }, false],
    ["a permitted origin", { origin: "https://good.example", "sec-fetch-site": "cross-site" }, false],
    ["another origin", { origin: "https://evil.example" }, true],
    ["another port", { origin: "https://stand.example:81" }, true],
    ["a sandboxed page", { origin: "null", referer: "https://stand.example/" }, true],
  ];
  for (const [what, headers, expected] of rows) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) t.equal(refused(method, headers), expected, `${method} ${what}`);
    t.equal(refused("GET", headers, true), expected, `upgrade ${what}`);
    t.equal(refused("GET", headers), false, `reading ${what}`);
  }
  t.ok(refused("POST", { "sec-fetch-site": "same-site" }));
  t.notOk(refused("GET", { origin: "http://stand.example", "sec-fetch-site": "cross-site" }, true), "ws: and http: do not always count as one site");
});

t.test("only a preflight is answered as one", async (t) => {
  const corsHeaders = { origin: "https://good.example", "access-control-request-method": "GET" };
  t.ok(preflightResponse(head(corsHeaders, "OPTIONS"), ["https://good.example"]));
  t.notOk(preflightResponse(head(corsHeaders, "GET"), ["https://good.example"]));
  t.notOk(preflightResponse(head({ origin: corsHeaders.origin }, "OPTIONS"), ["https://good.example"]));
  t.same(originLines(permittedOrigin(corsHeaders.origin, []), []), []);
});

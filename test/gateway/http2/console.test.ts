import { createServer } from "node:http";
import t from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { ID, openContainer, PATH } from "../stand.ts";
import { answerOf, openHttp2Stand, request } from "./fixture.ts";

const CONSOLE = "console.example";

t.test("over HTTP/2 the console's host name leads to the API, whatever the path, and to no container", async (t) => {
  const stand = await openHttp2Stand(t, { consoleName: CONSOLE });
  let atContainer = 0;
  const { address } = await openContainer(t, (_, response) => {
    atContainer++;
    response.end("container");
  });
  stand.set(ID, { kind: "awake", address });
  const recorded: { method: string; url: string; host: string; cookie: string; body: string }[] = [];
  const api = createServer((incoming, response) => {
    let body = "";
    incoming.setEncoding("latin1").on("data", (text: string) => (body += text));
    incoming.once("end", () => {
      const { method = "", url = "", headers } = incoming;
      recorded.push({ method, url, host: headers.host ?? "", cookie: headers.cookie ?? "", body });
      response.setHeader("set-cookie", ["berth_session=a; HttpOnly", "b=c"]);
      response.end("api");
    });
  });
  await listen(t, api, { path: stand.apiSocket });
  const session = stand.session();
  const atConsole = { ":authority": CONSOLE, cookie: "berth_session=a" };
  for (const path of ["/", PATH, "/console/events?x=y"]) t.equal((await request(session, { ...atConsole, ":path": path })).body, "api");
  const posted = await request(session, { ...atConsole, ":method": "POST", ":path": "/console/keys" }, "name=a");
  t.same(posted.headers["set-cookie"], ["berth_session=a; HttpOnly", "b=c"]);
  t.equal((await request(session, { ...atConsole, ":method": "HEAD", ":path": "/" })).body, "");
  t.equal((await request(session, { ":authority": "edge.example", ":path": PATH })).body, "container");
  t.equal(atContainer, 1);
  t.same(
    recorded.map(({ method, url }) => `${method} ${url}`),
    ["GET /", `GET ${PATH}`, "GET /console/events?x=y", "POST /console/keys", "HEAD /"],
  );
  t.ok(recorded.every(({ host, cookie }) => host === CONSOLE && cookie === "berth_session=a"));
  t.equal(recorded[3]?.body, "name=a");
});

t.test("over HTTP/2 the API's events come as they are sent, and end with the stream", async (t) => {
  const stand = await openHttp2Stand(t, { consoleName: CONSOLE });
  let open = 0;
  const api = createServer((_, response) => {
    open++;
    response.once("close", () => open--);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: first\n\n");
  });
  await listen(t, api, { path: stand.apiSocket });
  const session = stand.session();
  const streams = Array.from({ length: 20 }, () => session.request({ ":authority": CONSOLE, ":path": "/console/events" }));
  const texts = await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once("data", (piece: Buffer) => resolve(String(piece))))));
  t.same(new Set(texts), new Set(["data: first\n\n"]));
  const ends = streams.map((stream) => answerOf(stream).catch(() => undefined));
  for (const stream of streams) stream.close();
  await Promise.all(ends);
  await eventually("the API's responses are over", () => open === 0);
});

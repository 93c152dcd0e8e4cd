import { readFileSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { Availability } from "../../../gateway/contract.ts";
import { openSite, visit } from "../../program/rights/fixtures/chromium.ts";
import { ENGINE_NAMES } from "../../../gateway/connections/engine.ts";
import { ID, openContainer, openStand, PATH, WS_PATH } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const FILES = { css: readFileSync("gateway/waiting/page.css", "utf8"), js: readFileSync("gateway/waiting/page.js", "utf8") };
const NAVIGATES = { authorization: "token", accept: "text/html,*/*;q=0.8", "sec-fetch-mode": "navigate" };
const LAST_LINES = ["</pre><script>alert(1)</script>", "\u001b[31mno licence\u001b[0m"];
const failedUntil = (retryAt: number): Availability => ({
  kind: "failed",
  fault: { code: "CONTAINER_CRASHED", message: "It <crashed>", logs: [...LAST_LINES] },
  wakeable: true,
  retryAt,
});

const open = (t: Test) => openStand(t, { waitingFiles: FILES });

/** `fetch` says of itself what it likes. */
function ask(base: string, headers: Record<string, string>, method = "GET", path = PATH) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const call = request(base + path, { method, headers, agent: false }, (answer) => {
      void text(answer).then((body) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }), reject);
    });
    call.once("error", reject);
    call.end();
  });
}

t.test("a browser that goes to a sleeping container is shown a page at once, which wakes it; it stays in no cache", async (t) => {
  const stand = await open(t);
  stand.set(ID, { kind: "asleep" });
  const { status, headers } = await ask(stand.base, NAVIGATES);
  t.equal(status, 503);
  t.match(headers, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store", "retry-after": "3" });
  t.match(headers["content-security-policy"], /^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; connect-src 'self'/);
  t.same(stand.wakes, [ID]);
  stand.set(ID, { kind: "coming", step: "start" });
  t.match((await ask(stand.base, NAVIGATES)).body, /aria-current="step">Starting/);
  t.same(stand.wakes, [ID], "what is coming is not woken again");
  stand.set(ID, { kind: "coming", step: "start", note: "The process listens on <127.0.0.1:5000>." });
  t.match((await ask(stand.base, NAVIGATES)).body, "Starting … The process listens on &#60;127.0.0.1:5000&#62;.");
});

t.test("the page shows the pull of the image in bytes, the phase, and how long the last start took; it works without its script", async (t) => {
  const stand = await open(t);
  const start = { queue: 1, create: 1_000, boot: 3_000 };
  stand.set(ID, { kind: "coming", step: "start", pull: { done: 42_000_000, total: 107_000_000 } }, start);
  const pulling = (await ask(stand.base, NAVIGATES)).body;
  t.match(pulling, "Pulling its image: 42 of 107 MB");
  t.match(pulling, '<progress aria-label="Starting" value="42000000" max="107000000">');
  t.match(pulling, "The last start took 4 s.");
  t.match(pulling, '<noscript><meta http-equiv="refresh" content="3">');
  stand.set(ID, { kind: "coming", step: "start", phase: "boot" }, start);
  const { body } = await ask(stand.base, { authorization: "token", "x-berth-progress": "1" });
  t.match(JSON.parse(body), { state: "waiting", step: "boot", usualMs: 4_000 });
  stand.set(ID, failedUntil(Date.now() + 60_000));
  t.match((await ask(stand.base, NAVIGATES)).body, '<a role="button" href="">Try again</a>', "a link needs no script");
});

t.test("what is no navigation is held as ever: fetch, forms, other readers, WebSockets, and all where the page is off", async (t) => {
  const stand = await open(t);
  const off = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  for (const [what, { base, set, watchers }, headers, method] of [
    ["fetch", stand, { ...NAVIGATES, "sec-fetch-mode": "cors" }, "GET"],
    ["a program", stand, { authorization: "token" }, "GET"],
    ["no reader of HTML", stand, { ...NAVIGATES, accept: "application/json" }, "GET"],
    ["a form", stand, NAVIGATES, "POST"],
    ["off", off, NAVIGATES, "GET"],
  ] as const) {
    set(ID, { kind: "asleep" });
    const answer = ask(base, headers, method);
    await eventually("it waits", () => watchers(ID) === 1);
    set(ID, { kind: "awake", address });
    t.equal((await answer).body, "awake", what);
  }
  stand.set(ID, { kind: "asleep" });
  t.not((await ask(stand.base, NAVIGATES, "GET", WS_PATH)).status, 503);
});

t.test("the progress of the start is reported without waking, waiting or counting as use", async (t) => {
  const stand = await open(t);
  for (const [availability, state, step] of [
    [{ kind: "asleep" }, "asleep", "queue"],
    [{ kind: "coming", step: "queue" }, "waiting", "queue"],
    [{ kind: "coming", step: "start" }, "waiting", "start"],
    [{ kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] }, "ready", "start"],
    [failedUntil(0), "failed", "start"],
  ] as const) {
    stand.set(ID, availability);
    const { body } = await ask(stand.base, { authorization: "token", "x-berth-progress": "1" });
    t.match(JSON.parse(body), { state, step, logs: state === "failed" ? [LAST_LINES[0], "no licence"] : { length: 0 } });
  }
  t.same(stand.wakes, []);
  t.equal(stand.uses.size, 0);
});

t.test("a failed start is shown on the page, escaped so that nothing of its lines runs; once it may be, it is tried again", async (t) => {
  const stand = await open(t);
  stand.set(ID, failedUntil(Date.now() + 60_000));
  const { status, headers, body } = await ask(stand.base, NAVIGATES);
  t.equal(status, 500);
  t.equal(headers["retry-after"], "60");
  t.match(body, "It &#60;crashed&#62;");
  t.notMatch(body, "<script>alert");
  t.same(stand.wakes, []);
  stand.set(ID, failedUntil(0));
  t.equal((await ask(stand.base, NAVIGATES)).status, 503);
  t.same(stand.wakes, [ID]);
});

t.test("in a browser, the page follows the start through a failure and goes on to the answer by itself", async (t) => {
  const site = await openSite(t);
  const stand = await open(t);
  const script = `fetch(${JSON.stringify(`${site.origin}/report`)}, { method: "POST", mode: "no-cors", body: JSON.stringify(location.pathname + location.search) });`;
  const { address } = await openContainer(t, (_, response) =>
    response.setHeader("content-type", "text/html").end(`<!doctype html><script>${script}</script>`),
  );
  // Each later than the page looks: woken, starting, failed, started after all by another caller.
  const course: Availability[] = [{ kind: "coming", step: "start" }, failedUntil(Date.now() + 60_000), { kind: "awake", addresses: [address] }];
  stand.onWake(() => {
    stand.set(ID, { kind: "coming", step: "queue" });
    for (const [at, availability] of course.entries()) setTimeout(() => stand.set(ID, availability), 1_500 * (at + 1));
  });
  stand.set(ID, { kind: "asleep" });
  site.put("/", `await cookieStore.set("auth", "token"); location.href = ${JSON.stringify(`${stand.base}${PATH}/deep?a=1`)};`);
  t.equal(await visit(`${site.origin}/`, site.reported()), `${PATH}/deep?a=1`);
  t.same(stand.wakes, [ID]);
});

t.test("a browser whose request is refused gets a page with the reason; programs get JSON", async (t) => {
  const stand = await open(t);
  const unknown = PATH.replace(ID, "00000000-0000-4000-8000-000000000000");
  const missing = await ask(stand.base, NAVIGATES, "GET", unknown);
  t.match(missing, { status: 404, headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" } });
  t.match(
    missing.headers["content-security-policy"],
    /^default-src 'none'; style-src 'sha256-[^']+'; img-src data:; base-uri 'none'; form-action 'none'$/,
  );
  t.match(missing.body, /<h1>Container not found<\/h1>.*<code>CONTAINER_NOT_FOUND<\/code>/s);
  t.equal((await ask(stand.base, { authorization: "token" }, "GET", unknown)).headers["content-type"], "application/json");
  stand.set(ID, { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "A <user> stopped it: `berth run <it>`." } });
  const stopped = await ask(stand.base, NAVIGATES);
  t.equal(stopped.status, 400);
  t.match(stopped.body, "A &#60;user&#62; stopped it: <code>berth run &#60;it&#62;</code>.");
  t.match((await ask(stand.base, { authorization: "token" })).body, /^\{"datagrok-error":/);
  t.match((await ask(stand.base, { accept: "text/html", "sec-fetch-mode": "navigate" }, "POST")).headers["content-type"], "application/json");
});

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: a browser gets a page when a container that runs does not answer; programs get the JSON that they got before`, async (t) => {
    const stand = await openStand(t, { waitingFiles: FILES, forwarder, limits: { proxyRequestTimeoutMs: 300 } });
    const off = await openStand(t, { forwarder, limits: { proxyRequestTimeoutMs: 300 } });
    const { address } = await openContainer(t, (incoming, response) => {
      if (incoming.url?.startsWith("/breaks") === true) response.destroy();
      else if (incoming.url?.startsWith("/answers") === true) response.writeHead(502, { "content-type": "text/plain" }).end("its own words");
    });
    for (const { set } of [stand, off]) set(ID, { kind: "awake", addresses: [address] });
    const program = { authorization: "token", accept: "*/*" };
    for (const [path, status, code] of [
      ["/breaks", 502, "CONTAINER_BROKE_OFF"],
      ["/sleeps", 504, "RESPONSE_TIMED_OUT"],
    ] as const) {
      const shown = await ask(stand.base, NAVIGATES, "GET", PATH + path);
      t.match(shown, { status, headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" } }, path);
      t.match(shown.body, `<code>${code}</code>`);
      t.match(shown.body, '<a role="button" href="">Try again</a>');
      const before = await ask(off.base, NAVIGATES, "GET", PATH + path);
      t.match(before.body, /^\{"datagrok-error":"/);
      for (const [what, headers, method] of [
        ["a program", program, "GET"],
        ["fetch", { ...NAVIGATES, "sec-fetch-mode": "cors" }, "GET"],
        ["no reader of HTML", { ...NAVIGATES, accept: "application/json" }, "GET"],
        ["a form", NAVIGATES, "POST"],
      ] as const) {
        const answer = await ask(stand.base, headers, method, PATH + path);
        t.same([answer.status, answer.body, answer.headers["content-type"]], [status, before.body, "application/json"], `${path}: ${what}`);
      }
    }
    t.match(
      await ask(stand.base, NAVIGATES, "GET", `${PATH}/answers`),
      { status: 502, body: "its own words" },
      "a response of the container stays its own",
    );
  });
}

t.test("a browser that waits for a container which fails gets a page with the cause and the last lines", async (t) => {
  const stand = await open(t);
  stand.set(ID, { kind: "coming", step: "check" });
  const answer = ask(stand.base, NAVIGATES);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.set(ID, failedUntil(Date.now() + 60_000));
  const { status, headers, body } = await answer;
  t.same([status, headers["content-type"]], [500, "text/html; charset=utf-8"]);
  t.match(body, "It &#60;crashed&#62;");
  t.match(body, "&#60;/pre&#62;&#60;script&#62;alert(1)");
});

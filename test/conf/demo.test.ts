import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { fromBuffer } from "yauzl";
import { systemClock } from "../../lib/clock.ts";
import { DEMO_FOLDER, saveDemoToken, publishDemo, demoBanner } from "../../conf/demo.ts";
import { Fault } from "../../lib/fault.ts";
import { listen } from "../fixtures/server.ts";

const clock = systemClock();
const signal = new AbortController().signal;

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** A server that answers as berth's API does; its image has these statuses, one look after another. */
async function stand(t: Test, statuses: string[]) {
  const requests: { line: string; authorization: string | undefined; body: Buffer }[] = [];
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      requests.push({ line: `${request.method} ${request.url}`, authorization: request.headers.authorization, body });
      const answer = (status: number, value: unknown) =>
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
      if (request.url === "/api/users/login/dev") {
        return request.headers.authorization === "Dev right-key" ? answer(200, { isSuccess: true, token: "t0ken" }) : answer(401, { message: "no" });
      }
      if (request.method === "POST") return answer(200, {});
      return answer(200, [
        { id: "an-id", name: "demo-square", dockerfile: { status: statuses.length > 1 ? statuses.shift() : statuses[0], logs: "why" } },
      ]);
    });
  });
  const { port } = await listen(t, server);
  return { requests, base: `http://127.0.0.1:${port}` };
}

t.test("the demo is published as an author would, and awaited until its image is ready", async (t) => {
  const { requests, base } = await stand(t, ["pending validation", "validating", "ready"]);
  t.same(await publishDemo({ base, devKey: "right-key", folder: DEMO_FOLDER, clock, signal }), { id: "an-id", name: "demo-square", token: "t0ken" });
  const published = requests.find(({ line }) => line === "POST /api/packages/dev/demo?debug=true");
  t.equal(published?.authorization, "Dev right-key");
  const names = await new Promise<string[]>((resolve, reject) => {
    fromBuffer(published?.body ?? Buffer.alloc(0), (error, zip) => {
      if (error) return reject(error);
      const lines: string[] = [];
      zip.on("entry", (entry: { fileName: string }) => lines.push(entry.fileName)).on("end", () => resolve(lines));
    });
  });
  for (const name of ["package.json", "dockerfiles/square/Dockerfile", "dockerfiles/square/container.json", "dockerfiles/square/server.mjs"]) {
    t.ok(names.includes(name), name);
  }
});

t.test("an image that cannot be used, or a wrong key, is reported with the server's message", async (t) => {
  const { base } = await stand(t, ["error"]);
  const failure = (devKey: string) =>
    publishDemo({ base, devKey, folder: DEMO_FOLDER, clock, signal }).catch((error: unknown) => (error instanceof Fault ? error.code : error));
  t.equal(await failure("right-key"), "PACKAGE_INVALID");
  t.equal(await failure("wrong-key"), "PACKAGE_INVALID");
});

t.test("waiting for the image ends with the signal", async (t) => {
  const { base } = await stand(t, ["validating"]);
  const stop = new AbortController();
  const waiting = publishDemo({ base, devKey: "right-key", folder: DEMO_FOLDER, clock, signal: stop.signal });
  const reason = new Error("stopped");
  stop.abort(reason);
  await t.rejects(waiting, reason);
});

t.test("the token is kept for its owner alone, also where the file was there before", async (t) => {
  const file = join(t.testdir(), "demo.token");
  writeFileSync(file, "old", { mode: 0o644 });
  saveDemoToken(file, "t0ken");
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(readFileSync(file, "utf8"), "t0ken\n");
});

t.test("the commands of the banner can be pasted into a shell, and show no token", async (t) => {
  const folder = t.testdir({ "demo.token": "t0ken\n" });
  const { requests, base } = await stand(t, ["ready"]);
  const tokenFile = join(folder, "demo.token");
  const banner = demoBanner({
    console: "http://127.0.0.1:8081",
    base,
    id: "an-id",
    name: "demo-square",
    driver: "process",
    tokenFile,
    dataFolder: folder,
    keyPlace: "To print it again: cat key",
    idleMinutes: 1,
    hasNode: true,
  });
  t.notMatch(banner, "t0ken");
  const curl = /^ {2}(curl .*)$/m.exec(banner)?.[1] ?? "";
  // Handed to the shell as data, so that what is checked is the line itself; curl need not be installed.
  const words = execFileSync("sh", ["-c", `curl() { printf '%s\\n' "$@"; }; ${curl}`], { encoding: "utf8" })
    .trimEnd()
    .split("\n");
  t.same(words, ["-H", "Authorization: t0ken", `${base}/api/docker/containers/proxy/an-id/square?number=4`]);
  t.match(banner, /^ {2}node -e '[^'\n]+'$/m);
  t.same(requests, []);
});

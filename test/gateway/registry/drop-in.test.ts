import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";

import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { basic } from "./stand.ts";
import { DEV_KEY, openTokenServer } from "./token-server.ts";
import { eventually } from "../../fixtures/eventually.ts";

const PROGRAM = join(import.meta.dirname, "../../../berth.ts");

/** `berth registry-proxy` as a container of the field has it: its variables and nothing else. */
async function openDropIn(t: Test, env: Record<string, string>): Promise<{ base: string; child: ChildProcess; output(): string; folder: string }> {
  const folder = tempFolder(t);
  const child = spawn(process.execPath, [PROGRAM, "registry-proxy"], {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", BERTH_REGISTRY_PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece: Buffer) => void (output += piece.toString()));
  const base = await eventually("the proxy", async () => {
    if (child.exitCode !== null) throw new Error(output);
    return /registry proxy at (http:\S+)/.exec(output)?.[1];
  });
  return { base, child, output: () => output, folder };
}

const token = async (base: string, scope: string) => {
  const answer = await fetch(`${base}/token?service=docker-registry&scope=${scope}`, { headers: { authorization: basic(DEV_KEY) } });
  return ((await answer.json()) as { token: string }).token;
};

t.test("it starts and serves reads while the Datagrok server is away, and pushes once that is back", async (t) => {
  const registry = await openDistribution(t);
  const tokens = await openTokenServer(t);
  tokens.away = true;
  const { base, folder } = await openDropIn(t, { DATAGROK_URL: tokens.url, REGISTRY_URL: `http://${registry.host}` });
  t.equal((await fetch(`${base}/healthz`)).status, 200);
  t.equal((await fetch(`${base}/readyz`)).status, 200);
  t.equal((await fetch(`${base}/v2/a/manifests/1`)).status, 404);
  t.equal((await fetch(`${base}/v2/`)).status, 401);
  t.equal((await fetch(`${base}/token`, { headers: { authorization: basic(DEV_KEY) } })).status, 502);
  tokens.away = false;
  const authorization = `Bearer ${await token(base, "repository:a:push")}`;
  const push = () => fetch(`${base}/v2/a/blobs/uploads/`, { method: "POST", headers: { authorization } });
  // Its last attempt to load the keys may just have failed: then clients repeat their request.
  const isRetried = ({ status, headers }: Response) => status === 503 && headers.has("retry-after");
  const pushed = await eventually("the keys are loaded", async () => {
    const answer = await push();
    return isRetried(answer) ? undefined : answer;
  });
  t.equal(pushed.status, 202);
  t.notOk(existsSync(join(folder, ".berth")), "it needs no data folder");
});

t.test("after a stop signal it lets a push finish and takes no other", async (t) => {
  const registry = await openDistribution(t);
  const tokens = await openTokenServer(t);
  const { base, child } = await openDropIn(t, { DATAGROK_URL: tokens.url, REGISTRY_URL: registry.host, BERTH_DRAIN_SECONDS: "20" });
  const blob = randomBytes(100_000);
  const authorization = `Bearer ${await token(base, "repository:a:pull,push")}`;
  const begun = await fetch(`${base}/v2/a/blobs/uploads/`, { method: "POST", headers: { authorization } });
  const digest = `sha256:${createHash("sha256").update(blob).digest("hex")}`;
  const put = request(`${begun.headers.get("location")}&digest=${digest}`, {
    method: "PUT",
    agent: false,
    headers: { authorization, expect: "100-continue", "content-length": blob.length, "content-type": "application/octet-stream" },
  });
  put.flushHeaders();
  // Distribution says so once it reads.
  await once(put, "continue");
  put.write(blob.subarray(0, 50_000));
  child.kill("SIGTERM");
  await eventually("no more to be taken", () => fetch(`${base}/v2/`).then(() => undefined, () => true)); // prettier-ignore
  put.end(blob.subarray(50_000));
  const [answer] = (await once(put, "response")) as [{ statusCode: number; resume(): void }];
  answer.resume();
  t.equal(answer.statusCode, 201);
  if (child.exitCode === null) await once(child, "exit");
  t.equal(child.exitCode, 0);
});

t.test("without a registry it says what is missing", async (t) => {
  await t.rejects(openDropIn(t, { DATAGROK_URL: "http://127.0.0.1:1/api" }), { message: /REGISTRY_URL/ });
});

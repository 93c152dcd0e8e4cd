import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { type Console, openConsole } from "../control/console/fixtures/open-console.ts";
import { ADMIN_KEY, type Berth, startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildBase } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { type Mistake, MISTAKES } from "./broken-packages/mistakes.ts";
import { loadReadings, type Reading, READINGS_FILE } from "./broken-packages/page.ts";

/** What an author reads of each broken package: from `berth publish` on a real engine to the console in a browser. `READINGS=write` keeps it for the page. */
const { docker, host } = openEngine();
const base = await buildBase(docker);
/** An empty image; what is built from it has its platform. */
const foreignBase = `berth-test/foreign-base:${process.pid}`;
const environment = `broken-${process.pid}`;
const network = `berth-${environment}`;
const START_LIMIT_MINUTES = 0.5;

/** Sentences that hold for some seconds only. */
const FOR_A_MOMENT = /^ *(next +)?The next try may begin\..*$|^[\w ]+: the next try may begin\.$|^(now|\d+ (second|minute)s? ago)$/;

/** Without what differs from run to run: ids, addresses, times. */
function withoutAccidents(text: string): string {
  return text
    .replaceAll(/the berth on the data folder \S+: /g, "http://127.0.0.1:8080: ")
    .replaceAll(/\b10(\.\d+){3}\b/g, "10.0.0.2")
    .replaceAll(" One request is open.", "")
    .replaceAll(/ (For|In this state for) [\d.]+ (ms|s|min|seconds?|minutes?)\.$/gm, "")
    .replaceAll(`${environment}-`, "berth-")
    .replaceAll(base, "node:26")
    .replaceAll(/\b(berth-[a-z-]+)-[0-9a-f]{8}\b/g, "$1-…")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "…")
    .replaceAll(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/g, "…")
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "" && !FOR_A_MOMENT.test(line))
    .join("\n");
}

/** The container's name is short, as an author's would be: the folder is the package's. */
function writePackage(folder: string, { name, dockerfile, program, json, platform }: Mistake): string {
  const at = join(folder, "dockerfiles");
  mkdirSync(at, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version: "1.0.0" }));
  writeFileSync(join(at, "Dockerfile"), `FROM ${platform === undefined ? base : foreignBase}\nCOPY server /server\n${dockerfile}\n`);
  writeFileSync(join(at, "server"), program, { mode: 0o755 });
  writeFileSync(join(at, "container.json"), JSON.stringify({ on_demand: true, ...json }));
  return folder;
}

type Reader = { berth: Berth; env: NodeJS.ProcessEnv; console: Console };

async function readMistake(t: Test, { berth, env }: Reader, mistake: Mistake): Promise<Reading> {
  const folder = writePackage(tempFolder(t), mistake);
  const published = await typeBerth(["publish", folder], { env });
  const publish = withoutAccidents(`${published.stderr}\n${published.stdout}`.replaceAll(folder, "my-package"));
  if (mistake.status === undefined) {
    t.not(published.code, 0, publish);
    return { publish };
  }
  t.equal(published.code, 0, publish);
  const name = mistake.name;
  const { id } = await berth.container(name);
  const response = await berth.call(`/docker/containers/proxy/${id}/`);
  t.equal(response.status, mistake.status, mistake.name);
  const body = await response.text();
  const sentence = body.startsWith("{") ? (JSON.parse(body) as { "datagrok-error": string })["datagrok-error"] : body;
  await eventually(`${mistake.name}'s start to be over`, async () => !/start/.test((await berth.container(name)).status) || mistake.status! < 500);
  const explained = await typeBerth(["explain", name], { env });
  return {
    publish,
    response: withoutAccidents(`${response.status} ${response.statusText}\n${sentence}`),
    explain: withoutAccidents(explained.stdout.split("\n\n", 1)[0] ?? ""),
  };
}

t.test("an author of each of ten broken packages reads what is wrong and what to do, everywhere", async (t) => {
  const data = tempFolder(t);
  for (const { platform } of MISTAKES) {
    if (platform === undefined) continue;
    // An empty tar.
    execFileSync("docker", ["import", "--platform", platform, "-", foreignBase], {
      input: Buffer.alloc(1_024),
      env: { ...process.env, DOCKER_HOST: host },
    });
    t.teardown(() => docker.getImage(foreignBase).remove({ force: true }));
  }
  const berth = await startBerth({
    data,
    env: {
      BERTH_DRIVER: "docker",
      BERTH_DOCKER_NETWORK: network,
      GROK_SPAWNER_ENVIRONMENT: environment,
      GROK_PARAMETERS: JSON.stringify({ dockerSettings: { containerStatusTimeoutMinutes: START_LIMIT_MINUTES } }),
    },
  });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(docker, environment, network);
  });
  const home = tempFolder(t);
  // BuildKit, where this machine has it, words some faults in another way.
  const builder = { DOCKER_BUILDKIT: "0" };
  const env = {
    ...builder,
    PATH: process.env["PATH"],
    HOME: home,
    DOCKER_HOST: host,
    BERTH_DATA: join(data, "berth-data"),
    BERTH_ADMIN_KEY: ADMIN_KEY,
  };
  const console = await openConsole(t, berth.base);
  await console.signIn(berth.key);
  await console.page.getByRole("heading", { name: "Containers" }).waitFor();

  const read = await Promise.all(
    MISTAKES.map(async (mistake): Promise<[string, Reading]> => [mistake.name, await readMistake(t, { berth, env, console }, mistake)]),
  );
  const readings: Record<string, Reading> = {};
  for (const [name, reading] of read) {
    if (reading.response === undefined) readings[name] = reading;
    else readings[name] = { ...reading, console: await readConsole(berth, console, name) };
  }
  await console.picture("broken-package");
  if (process.env["READINGS"] === "write") writeFileSync(READINGS_FILE, `${JSON.stringify(readings, null, 2)}\n`);
  for (const { name } of MISTAKES)
    t.same(readings[name], loadReadings()[name], `${name} (else: READINGS=write npm test -- test/program/broken-packages.test.ts && npm run docs)`);
});

/** The failures and the reason on the container's page. */
async function readConsole(berth: Berth, { page }: Console, name: string): Promise<string> {
  const { id, status } = await berth.container(name);
  await page.goto(`${page.url().split("#", 1)[0]}#/containers/${id}`);
  await page.getByRole("heading", { level: 1, name }).waitFor();
  await page.locator("h1 .status", { hasText: status }).waitFor();
  const why = page.locator("section", { has: page.getByRole("heading", { name: "Why" }) });
  await why.locator("p:not(:text('Loading…'))").first().waitFor();
  const cards = await page.getByRole("note").allInnerTexts();
  const reason = await why.locator("p, li").allInnerTexts();
  const warnings = await page.locator(".facts div", { has: page.getByText("Warnings", { exact: true }) }).allInnerTexts();
  return withoutAccidents([`${name} ${status}`, ...cards, "Why", ...reason, ...warnings].join("\n"));
}

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { startBerth } from "../../fixtures/berth.ts";
import { openCiIssuer } from "../../fixtures/ci-issuer.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { freePort } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const ROOT = join(import.meta.dirname, "../../..");
const PAGE = readFileSync(join(ROOT, "docs/ci.md"), "utf8");
const examples = (language: string) => [...PAGE.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "gs"))].map(([, text = ""]) => text);

function writeAll(folder: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

/** A berth with its own registry, an issuer, and a repository in which CI jobs run the commands of the page. */
async function openCi(t: Test) {
  const port = await freePort();
  const { docker, host } = openEngine();
  const { onDemand } = await buildTestImages(docker, ["onDemand"]);
  const data = tempFolder(t);
  const issuer = await openCiIssuer(t);
  const berth = await startBerth({
    data,
    env: {
      BERTH_REGISTRY: "embedded",
      BERTH_REGISTRY_PORT: String(port),
      BERTH_REGISTRY_ANONYMOUS_PULL: "false",
      BERTH_PUBLISHER_HTTP_ISSUERS: "on",
    },
  });
  t.teardown(() => berth.stop());
  const bin = tempFolder(t);
  symlinkSync(join(ROOT, "berth"), join(bin, "berth"));
  const folder = writeAll(tempFolder(t), {
    "package.json": JSON.stringify({ name: "@acme/plugins", version: "1.2.3" }),
    "dockerfiles/app/Dockerfile": `FROM ${onDemand}\nENV TYPED=1\n`,
    "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, port: 15353 }),
  });
  const registry = `127.0.0.1:${port}`;
  const written = (text: string) =>
    text
      .replaceAll("https://berth.example", berth.base)
      .replaceAll("registry.example", registry)
      .replaceAll("--issuer github", `--issuer ${issuer.url}`);
  /** A process of its own for each: nothing but the variables of the CI system tells berth who runs it. */
  const run = async (script: string, env: Record<string, string> = {}) => {
    const own = { PATH: `${bin}:${process.env["PATH"]}`, HOME: tempFolder(t), DOCKER_HOST: host, BERTH_DATA: join(data, "none") };
    try {
      const { stdout, stderr } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", written(script)], {
        cwd: folder,
        env: { ...own, ...env },
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, stdout, stderr };
    }
  };
  const administrator = { BERTH_SERVER: berth.base, BERTH_KEY: berth.key };
  t.equal((await run("berth users add anna", administrator)).code, 0);
  t.teardown(async () => {
    const images = await docker.listImages();
    const own = images.flatMap(({ RepoTags }) => (RepoTags ?? []).filter((tag) => /plugins-(app|tools)|other-app/.test(tag)));
    for (const tag of own) await docker.getImage(tag).remove({ force: true });
  });
  return { berth, issuer, run, administrator, registry, folder, onDemand };
}

t.test("the examples of docs/ci.md publish and push without a key", async (t) => {
  const { berth, issuer, run, administrator, registry, onDemand, folder } = await openCi(t);
  const [add = "", push = ""] = examples("sh");
  type Workflow = { jobs: { publish: { steps: { run?: string }[] } } };
  type Pipeline = { publish: { id_tokens: Record<string, { aud: string }>; script: string[] } };
  const [github, gitlab] = examples("yaml").map((text) => parse(text) as unknown) as [Workflow, Pipeline];
  const added = await run(add, administrator);
  t.match(added, { code: 0, stdout: /^Added release\. Its jobs may publish @acme\/plugins/ }, added.stderr);
  t.match(
    (await run("berth publishers ls", administrator)).stdout,
    /release +http:\S+ +repository=acme\/plugins ref=refs\/heads\/main +anna +@acme\/plugins/,
  );

  await t.test("GitHub Actions", async (t) => {
    const { steps } = github.jobs.publish;
    const published = await run(steps.flatMap((step) => step.run ?? []).join("\n"), issuer.githubVariables);
    t.match(published, { code: 0, stdout: /^Published @acme\/plugins 1\.2\.3 to .*: plugins-app\.$/m }, published.stderr);
    t.match(published.stderr, /Built and pushed datagrok\/plugins-app:1\.2\.3\./);
    t.equal((await berth.container("plugins-app")).status.includes("error"), false);

    await run(`docker tag ${onDemand} ${registry}/datagrok/plugins-tools:1.0; docker tag ${onDemand} ${registry}/datagrok/other-app:1.0`);
    const pushed = await run(push, issuer.githubVariables);
    t.match(pushed, { code: 0, stdout: /Login Succeeded[^]*1\.0: digest: sha256:/ }, pushed.stderr);
    const foreign = await run(push.replaceAll("plugins-tools", "other-app"), issuer.githubVariables);
    t.not(foreign.code, 0, "not another repository");
    t.match(foreign.stdout + foreign.stderr, /denied|You may not push|unauthorized/);
    t.match(await run(`docker pull ${registry}/datagrok/plugins-tools:1.0`), { code: 1 }, "a pull needs a token");
  });

  await t.test("GitLab", async (t) => {
    await run("berth publishers add lab --issuer github --claim project_path=acme/plugins --user anna --package @acme/plugins", administrator);
    const { id_tokens: tokens, script } = gitlab.publish;
    t.same(tokens, { BERTH_ID_TOKEN: { aud: "https://berth.example" } });
    const token = await issuer.sign({ aud: berth.base, repository: undefined, project_path: "acme/plugins", ref: "main", pipeline_id: "42" });
    const published = await run([...script, "berth publish --release"].join("\n"), { GITLAB_CI: "true", BERTH_ID_TOKEN: token });
    t.match(
      published,
      { code: 0, stdout: /Signed in to .* as anna, for lab[^]*Published @acme\/plugins 1\.2\.3[^]*Published @acme/ },
      published.stderr,
    );
    t.match(await run(script.join("\n"), { GITLAB_CI: "true", BERTH_ID_TOKEN: token }), { code: 4, stderr: /exchanged before/ });
  });

  await t.test("what else a job may try is refused in a sentence", async (t) => {
    const server = "--server https://berth.example";
    const job = issuer.githubVariables;
    t.match(await run(`berth containers ${server}`, job), { code: 4, stderr: /./ });
    t.match(await run(`berth users ls ${server}`, job), { code: 4 });
    writeAll(folder, { "package.json": JSON.stringify({ name: "@acme/other", version: "1.2.3" }) });
    t.match(await run(`berth publish --release ${server} --registry registry.example`, job), {
      code: 4,
      stderr: /release may not publish @acme\/other/,
    });
    const { GITHUB_ACTIONS } = job;
    t.match(await run(`berth publish ${server}`, { GITHUB_ACTIONS }), { code: 2, stderr: /permission `id-token: write`/ });
    t.match(await run(`berth login https://berth.example --ci`, { GITLAB_CI: "true" }), { code: 2, stderr: /BERTH_ID_TOKEN under `id_tokens`/ });
    t.match(await run(`berth login https://berth.example --ci --audience https://other.example`, job), {
      code: 4,
      stderr: /No trusted publisher matches/,
    });
    t.match(await run(`berth login https://berth.example --ci`, { ...job, ACTIONS_ID_TOKEN_REQUEST_TOKEN: "wrong" }), {
      stderr: /GitHub issued no identity token for this job: .* answered 401/,
    });
    t.match(await run("berth publishers rm release", administrator), { code: 0, stdout: /Removed release/ });
    t.match(await run(`berth login https://berth.example --ci`, job), { code: 4, stderr: /No trusted publisher matches this job/ });
  });

  const entries = (await (await berth.call("/admin/audit?limit=200")).json()) as { action: string; via: string; target: string }[];
  const via = /^trusted publisher release: repository=acme\/plugins ref=refs\/heads\/main run_id=4711$/;
  t.match(entries.filter(({ action, target }) => action === "packagePublished" && target === "@acme/plugins").at(-1), { via });
  t.ok(entries.some(({ action }) => action === "jobSignedIn"));
  t.notMatch(JSON.stringify(entries), /berth_job_/);
  t.notMatch(berth.output(), /berth_job_/, "nor does the log");
});

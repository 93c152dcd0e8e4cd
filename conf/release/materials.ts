/** What a release is made of: its packages from npm, and the libraries of Debian in its image. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import about from "../../package.json" with { type: "json" };
import { type Bill, type BillComponent, omitTools } from "../omit-tools.ts";

const ROOT = join(import.meta.dirname, "../..");

/** npm's bill of materials in CycloneDX, without development, and without what differs between two runs. */
export function loadBill({ version, epoch }: { version: string; epoch: number }): Bill {
  const format = ["--sbom-format", "cyclonedx", "--sbom-type", "application", "--package-lock-only"];
  const output = execFileSync("npm", ["sbom", ...format], { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const bill = omitTools(JSON.parse(output) as Bill);
  const [own, purl] = [`${about.name}@${version}`, `pkg:npm/${about.name}@${version}`];
  const was = bill.metadata.component["bom-ref"];
  // npm has the name of the folder there.
  const component = { ...bill.metadata.component, "bom-ref": own, name: about.name, version, purl, properties: [] };
  const dependencies = bill.dependencies.map((one) => (one.ref === was ? { ...one, ref: own } : one));
  return withSerial({ ...bill, metadata: { ...bill.metadata, timestamp: new Date(epoch * 1_000).toISOString(), component }, dependencies });
}

/** The same with what an image has beside berth. */
export function withLibraries(bill: Bill, libraries: readonly SystemLibrary[]): Bill {
  const packages = new Map(libraries.map((one) => [one.package, one]));
  const added = [...packages.values()].map(({ package: name, version, purl }) => ({ "bom-ref": purl, type: "library", name, version, purl }));
  const dependencies = bill.dependencies.map((one) =>
    one.ref === bill.metadata.component["bom-ref"] ? { ...one, dependsOn: [...one.dependsOn, ...added.map(({ purl }) => purl)] } : one,
  );
  return withSerial({ ...bill, components: [...bill.components, ...added], dependencies });
}

/** CycloneDX wants a UUID that no other document has: by the content, so that the same content has the same. */
function withSerial(bill: Bill): Bill {
  const hash = createHash("sha256")
    .update(JSON.stringify({ ...bill, serialNumber: "" }))
    .digest("hex");
  const uuid = `${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-a${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
  return { ...bill, serialNumber: `urn:uuid:${uuid}` };
}

/** The licences of all packages in the bundle, and Node's, with their texts. */
export function licenceTexts(bill: Bill): string {
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { name?: string; version: string }>;
  };
  const folders = new Map(
    Object.entries(packages).map(([path, one]) => [`${one.name ?? path.slice(path.lastIndexOf("node_modules/") + 13)}@${one.version}`, path]),
  );
  const texts = bill.components
    .toSorted((a, b) => (a["bom-ref"] < b["bom-ref"] ? -1 : 1))
    .map((one) => {
      const folder = join(ROOT, folders.get(`${one.name}@${one.version}`) ?? "none");
      return `${one.name} ${one.version}: ${licenceName(one)}\n\n${readLicence(one.name === "node" ? nodeFolder() : folder)}`;
    });
  return `berth contains these packages. Its own licence: LICENSE.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

function licenceName({ licenses = [] }: BillComponent): string {
  return licenses.map(({ license, expression }) => expression ?? license?.id ?? license?.name).join(", ") || "see its text";
}

function readLicence(folder: string): string {
  if (!existsSync(folder)) return "";
  return readdirSync(folder)
    .filter((name) => /^(?:licen[cs]e|copying|notice)(?:[.-]|$)/i.test(name))
    .toSorted()
    .map((name) => `${readFileSync(join(folder, name), "utf8").trim()}\n`)
    .join("\n");
}

/** Where the package `node` puts Node itself. */
function nodeFolder(): string {
  return join(ROOT, `node_modules/node/node_modules/node-${process.platform}-${process.arch}`);
}

/** A file that the executable is linked with; `path` is where the loader looks for it. */
export type SystemLibrary = { path: string; file: string; package: string; version: string; purl: string };

/** By the package manager of this machine, which is a Debian. */
export function findLibraries(program: string): SystemLibrary[] {
  const output = execFileSync("ldd", [program], { encoding: "utf8" });
  const paths = output
    .split("\n")
    .map((line) => line.slice(0, line.lastIndexOf(" (")).split(" ").at(-1)?.trim() ?? "")
    .filter((path) => path.startsWith("/"))
    .toSorted();
  return paths.map((path) => {
    const file = realpathSync(path);
    const [name = ""] = query("--search", file).split(": ");
    const [short = ""] = name.split(":");
    const version = query("--show", "--showformat=${Version}", name);
    return { path, file, package: short, version, purl: `pkg:deb/debian/${short}@${encodeURIComponent(version)}?arch=${debianArchitecture()}` };
  });
}

function query(...args: string[]): string {
  return execFileSync("dpkg-query", args, { encoding: "utf8" });
}

export function debianArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

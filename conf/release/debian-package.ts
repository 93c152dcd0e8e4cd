/** The package for Debian: the executable, the unit of `berth install`, and the scripts of `conf/release/debian/`. Only dpkg-deb makes it. */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { FIRST_SETTINGS, INSTALL_PATHS, unitText } from "../../cli/install/install.ts";
import about from "../../package.json" with { type: "json" };
import { debianArchitecture, type SystemLibrary } from "./materials.ts";
import { type ArchiveEntry, withFolders } from "./tar.ts";

const ROOT = join(import.meta.dirname, "../..");
const PROGRAM = "/usr/bin/berth";
const SCRIPTS = ["postinst", "prerm", "postrm"] as const;
/** What Debian 12 has of each; test/conf/binary/binary.test.ts checks that the executable needs nothing newer. */
const OLDEST: Readonly<Record<string, string>> = { libc6: "2.36", "libstdc++6": "12" };

/** Debian sorts a candidate below what it is a candidate for only with a tilde. */
export const debianVersion = (version: string) => version.replace("-", "~");

/** Writes the package. `maintainer` is `Name <mail>`. */
export async function buildDebianPackage(options: {
  target: string;
  work: string;
  program: string;
  version: string;
  epoch: number;
  libraries: readonly SystemLibrary[];
  maintainer: string;
  licences: string;
}): Promise<void> {
  const { target, work, epoch } = options;
  const files = withFolders(packageFiles(options));
  const sizeKb = files.reduce((sum, { content }) => sum + Math.ceil(bytesOf(content) / 1_024), 0);
  const control: ArchiveEntry[] = [
    textEntry("DEBIAN/control", controlText(options, sizeKb)),
    textEntry("DEBIAN/conffiles", `${INSTALL_PATHS.settings}\n`),
    textEntry("DEBIAN/md5sums", files.flatMap((entry) => sumLine(entry)).join("")),
    ...SCRIPTS.map((name) => ({
      path: `DEBIAN/${name}`,
      mode: 0o755,
      content: Buffer.from(readFileSync(join(ROOT, "conf/release/debian", name))),
    })),
  ];
  for (const entry of [...files, ...withFolders(control)]) placeEntry(work, entry);
  // Folders last: each file that is written changes the time of its folder.
  for (const { path } of [...files, ...withFolders(control)].toReversed()) utimesSync(join(work, path), epoch, epoch);
  // Whatever the umask is.
  chmodSync(work, 0o755);
  utimesSync(work, epoch, epoch);
  // With several threads the bytes would depend on the machine. Higher levels take a minute, and save a tenth.
  const args = [`SOURCE_DATE_EPOCH=${epoch}`, "dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "--threads-max=1", "--build", work, target];
  await promisify(execFile)("env", args);
}

type PackageOptions = Parameters<typeof buildDebianPackage>[0];

function packageFiles({ program, version, epoch, maintainer, licences }: PackageOptions): ArchiveEntry[] {
  const print = (...args: string[]) => execFileSync(program, args, { encoding: "utf8", env: {} });
  const header = `Of the package berth: settings belong in ${INSTALL_PATHS.settings}, other changes in \`systemctl edit berth.service\`.`;
  const changes = `berth (${debianVersion(version)}) unstable; urgency=medium\n\n  * Version ${version}: see NEWS.gz.\n\n -- ${maintainer}  ${rfc2822(epoch)}\n`;
  return [
    { path: PROGRAM.slice(1), mode: 0o755, content: { file: program } },
    // The user's groups count: a unit that names a missing group would not start.
    textEntry("usr/lib/systemd/system/berth.service", unitText({ header, program: PROGRAM, groups: [] })),
    { ...textEntry(INSTALL_PATHS.settings.slice(1), FIRST_SETTINGS), mode: 0o600 },
    zipped("usr/share/man/man1/berth.1.gz", print("man")),
    textEntry("usr/share/bash-completion/completions/berth", print("completion", "bash")),
    textEntry("usr/share/zsh/vendor-completions/_berth", print("completion", "zsh")),
    textEntry("usr/share/fish/vendor_completions.d/berth.fish", print("completion", "fish")),
    textEntry("usr/share/doc/berth/copyright", copyright()),
    zipped("usr/share/doc/berth/changelog.gz", changes),
    zipped("usr/share/doc/berth/NEWS.gz", readFileSync(join(ROOT, "CHANGELOG.md"), "utf8")),
    zipped("usr/share/doc/berth/THIRD-PARTY-LICENSES.gz", licences),
    textEntry("usr/share/lintian/overrides/berth", readFileSync(join(ROOT, "conf/release/debian/lintian-overrides"), "utf8")),
  ];
}

function controlText({ version, libraries, maintainer }: PackageOptions, sizeKb: number): string {
  const packages = [...new Set(libraries.map((one) => one.package))].toSorted();
  const depends = ["adduser", ...packages.map((name) => (OLDEST[name] === undefined ? name : `${name} (>= ${OLDEST[name]})`))];
  return `Package: berth
Version: ${debianVersion(version)}
Architecture: ${debianArchitecture()}
Maintainer: ${maintainer}
Installed-Size: ${sizeKb}
Depends: ${depends.join(", ")}
Suggests: docker.io
Section: net
Priority: optional
Description: starts plugin containers on demand
 berth proxies authenticated requests to plugin containers. It starts a
 container with its first request, holds the request until the container is
 ready, and stops the container when it is idle.
 .
 It speaks the REST, WebSocket and publishing protocols of a Datagrok server.
`;
}

function copyright(): string {
  const [, ...paragraphs] = readFileSync(join(ROOT, "LICENSE"), "utf8").trim().split("\n\n");
  const [holder = "", ...text] = paragraphs;
  const indented = text.map((paragraph) => paragraph.replaceAll(/^/gm, " ")).join("\n .\n");
  const holders = holder.replace(/^Copyright (?:\(c\) )?/, "");
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: berth
Comment: THIRD-PARTY-LICENSES.gz has the licences of the packages in the executable.

Files: *
Copyright: ${holders}
License: ${about.license}
${indented}
`;
}

function textEntry(path: string, text: string): ArchiveEntry {
  return { path, mode: 0o644, content: Buffer.from(text) };
}

function zipped(path: string, text: string): ArchiveEntry {
  return { path, mode: 0o644, content: gzipSync(text, { level: 9 }) };
}

function bytesOf(content: ArchiveEntry["content"]): number {
  if (content === "folder") return 1_024;
  return content instanceof Uint8Array ? content.length : statSync(content.file).size;
}

function sumLine({ path, content }: ArchiveEntry): string[] {
  if (content === "folder" || `/${path}` === INSTALL_PATHS.settings) return [];
  const bytes = content instanceof Uint8Array ? content : readFileSync(content.file);
  return [`${createHash("md5").update(bytes).digest("hex")}  ${path}\n`];
}

function placeEntry(root: string, { path, mode, content }: ArchiveEntry): void {
  const at = join(root, path);
  if (content === "folder") mkdirSync(at);
  else if (content instanceof Uint8Array) writeFileSync(at, content);
  else copyFileSync(content.file, at);
  chmodSync(at, mode);
}

/** As `date -R` writes it. */
function rfc2822(epoch: number): string {
  return new Date(epoch * 1_000).toUTCString().replace("GMT", "+0000");
}

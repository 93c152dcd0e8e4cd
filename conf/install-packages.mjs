/* oxlint-disable no-restricted-globals, no-restricted-properties -- it runs before there is a Clock to import */
/**
 * `node conf/install-packages.mjs [--omit=dev]`: `npm ci`, which prints nothing for as long as it takes, with a line of progress. Runs on the machine's own
 * Node, from version 20 on, before there is any package: JavaScript, without imports but Node's.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

const LINE_MS = process.stderr.isTTY ? 200 : 5_000;

const args = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const libc = process.report.getReport().header.glibcVersionRuntime === undefined ? "musl" : "glibc";
const isFor = (allowed, own) => allowed === undefined || allowed.includes(own);
/** The package.json of each package that npm unpacks on this machine. */
const expected = Object.entries(packages)
  .filter(([path, one]) => path !== "" && isFor(one.os, process.platform) && isFor(one.cpu, process.arch) && isFor(one.libc, libc))
  .filter(([, one]) => !(args.includes("--omit=dev") && one.dev))
  .map(([path]) => `${path}/package.json`);
const begun = Date.now();

const seconds = () => Math.round((Date.now() - begun) / 1_000);

function progress() {
  const line = `setup: installing npm packages: ${expected.filter((file) => existsSync(file)).length} of ${expected.length}, ${seconds()} s`;
  process.stderr.write(process.stderr.isTTY ? `\r${line}\u001b[K` : `${line}\n`);
}

progress();
const timer = setInterval(progress, LINE_MS);
const child = spawn("npm", ["ci", "--loglevel=error", "--no-audit", "--no-fund", "--no-progress", ...args], { stdio: ["ignore", 2, 2] });
for (const name of ["SIGINT", "SIGTERM"]) process.on(name, () => child.kill(name));
child.on("error", (error) => {
  console.error(`setup: npm does not run: ${error.message}`);
  process.exit(1);
});
child.on("close", (code) => {
  clearInterval(timer);
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  if (code === 0) process.stderr.write(`setup: installed the npm packages in ${seconds()} s\n`);
  process.exit(code ?? 1);
});

/**
 * `npm run fuzz -- coverage`: the comparison of `compare-heads.ts` on heads that jazzer.js makes, guided by the code that each reaches, for `FUZZ_MINUTES`.
 * jazzer.js comes from the registry for the run: its hundred packages are of no other use here.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";

const PACKAGE = "@jazzer.js/core@4.0.0";
const MINUTES = Number(process.env["FUZZ_MINUTES"] ?? 5);
const SEEDS = [
  "\x01GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
  "\x01POST /a HTTP/1.1\r\nContent-Length: 12\r\nHost: h\r\nConnection: close\r\n\r\n",
  "\x01GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  "\x00HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n",
  "\x00HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n",
];

export async function runCoverage(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "berth-coverage-"));
  try {
    const target = join(folder, "target.cjs");
    await build({ entryPoints: [join(import.meta.dirname, "coverage-target.ts")], bundle: true, platform: "node", format: "cjs", outfile: target });
    const corpus = join(folder, "corpus");
    await mkdir(corpus);
    await Promise.all(SEEDS.map((text, index) => writeFile(join(corpus, String(index)), text, "latin1")));
    const jazzer = ["exec", "--yes", `--package=${PACKAGE}`, "--", "jazzer", target, corpus, "-i", "target.cjs", "--sync", "--"];
    const options = [`-max_total_time=${MINUTES * 60}`, "-max_len=600", "-print_final_stats=1"];
    const child = spawn("npm", [...jazzer, ...options], { stdio: "inherit", cwd: folder });
    const [code] = (await once(child, "close")) as [number | null];
    process.exitCode = code ?? 1;
  } finally {
    await rm(folder, { recursive: true });
  }
}

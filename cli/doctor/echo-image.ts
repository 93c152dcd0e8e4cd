import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, openSync, readSync, realpathSync, statSync } from "node:fs";
import { isSea } from "node:sea";
import { basename, dirname } from "node:path";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { type Engine, openEngine } from "../../drivers/engine/engine.ts";
import { answered } from "../../drivers/engine/faults.ts";
import { Fault } from "../../lib/fault.ts";
import { engineAt } from "../../processes/open-driver.ts";
import type { CheckContext } from "./check.ts";

/** The program of the test container, and the port on which it listens. */
type EchoProgram = { file: string; port: number };

/** Docker's names for processors. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
const IMPORT_MS = 90_000;
const REMOVE_TRIES = 20;
const REMOVE_AGAIN_MS = 500;

/**
 * Makes an image on the engine from this program, its loaded libraries and the echo file, so that no registry is needed. Returns its name, or why it
 * cannot be made. The context removes it.
 */
export async function makeEchoImage(chain: CheckContext, echo: EchoProgram, signal: AbortSignal): Promise<{ ref: string } | { cannot: string }> {
  if (process.platform !== "linux") return { cannot: "this program's own image runs on Linux alone" };
  const engine = openEngine(engineAt(chain.settings), chain.clock);
  const { Arch, Os } = await engine.call({ doing: "Asking the engine for its version", signal }, (docker) => docker.version());
  if (Os !== "linux" || Arch !== ARCHITECTURES[process.arch]) {
    engine.close();
    return { cannot: `the engine runs ${Os} on ${Arch}, this program linux on ${process.arch}` };
  }
  const tag = randomBytes(6).toString("hex");
  const ref = `berth-doctor:${tag}`;
  chain.addCleanup(`The image ${ref}`, async (ending) => {
    await remove(engine, ref, ending, chain);
    engine.close();
  });
  const { files, changes } = contents(echo);
  // The client's types know files by their names alone.
  type Import = (tar: Readable, options: object) => Promise<AsyncIterable<Buffer>>;
  await engine.call({ doing: `Importing ${ref}`, signal, ms: IMPORT_MS }, async (docker, abortSignal) => {
    const importImage = docker.importImage.bind(docker) as unknown as Import;
    const output = await importImage(tarOf(files), { repo: "berth-doctor", tag, changes, abortSignal });
    for await (const piece of output)
      if (String(piece).includes('"error"')) throw new Fault("ENGINE_FAILED", `Importing ${ref}: ${String(piece).slice(0, 300)}`);
  });
  return { ref };
}

/** The loader keeps its path; libraries get a folder. */
function contents(echo: EchoProgram): { files: { path: string; from: string }[]; changes: string[] } {
  const libraries = loadedLibraries();
  const loader = loaderOf(process.execPath);
  const files = [
    { path: "/program", from: process.execPath },
    { path: "/echo.mjs", from: echo.file },
    { path: loader, from: realpathSync(loader) },
    ...libraries.map((from) => ({ path: `/libraries/${basename(from)}`, from })),
  ];
  const command = isSea() ? ["/program", "node", "/echo.mjs"] : ["/program", "/echo.mjs"];
  const changes = [`ENV LD_LIBRARY_PATH=/libraries:${dirname(loader)}`, `EXPOSE ${echo.port}`, `CMD ${JSON.stringify(command)}`];
  return { files, changes };
}

/** Paths by the names that the loader searches for; the files behind them may have longer names. */
function loadedLibraries(): string[] {
  // A report with the network would look up the name of every peer.
  Object.assign(process.report, { excludeNetwork: true });
  const { sharedObjects } = process.report.getReport() as { sharedObjects: string[] };
  return sharedObjects.filter((path) => path.startsWith("/") && /\.so(\.\d+)*$/.test(path));
}

/** A tar of these files, read one after the other. */
function tarOf(files: readonly { path: string; from: string }[]): Readable {
  const archive = pack();
  const add = ({ path, from }: (typeof files)[number]) =>
    new Promise<void>((resolve, reject) => {
      const header = { name: path.replace(/^\/+/, ""), size: statSync(from).size, mode: 0o755 };
      const entry = archive.entry(header, (error) => (error ? reject(error) : resolve()));
      createReadStream(from).once("error", reject).pipe(entry);
    });
  const addAll = async () => {
    for (const file of files) await add(file);
    archive.finalize();
  };
  addAll().catch((error: unknown) => archive.destroy(error as Error));
  return Readable.from(archive);
}

/** The ELF interpreter, which a dynamic program names near its beginning. */
function loaderOf(program: string): string {
  const start = Buffer.alloc(8_192);
  const open = openSync(program, "r");
  readSync(open, start);
  closeSync(open);
  // oxlint-disable-next-line berth/linear-regexp -- the beginning of a program of this machine
  const loader = /\/[\w./-]*\/ld-[\w.-]+/.exec(start.toString("latin1"))?.[0];
  if (loader === undefined) throw new Fault("CHAIN_BROKEN", `${program} names no loader, so no image can be made of it.`);
  return loader;
}

/** Repeats while a container of it ends. */
async function remove(engine: Engine, ref: string, signal: AbortSignal, { clock }: CheckContext): Promise<void> {
  for (let left = REMOVE_TRIES; ; left--) {
    try {
      await engine.call({ doing: `Removing ${ref}`, signal }, (docker) => docker.getImage(ref).remove({ force: true }));
      return;
    } catch (error) {
      if (answered(error, 404)) return;
      if (left === 1 || !answered(error, 409)) throw error;
      await clock.sleep(REMOVE_AGAIN_MS, signal);
    }
  }
}

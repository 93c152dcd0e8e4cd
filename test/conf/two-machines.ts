import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { makeCertificate } from "../fixtures/certificates.ts";
import { type SwitchedMachine, openMachines } from "../fixtures/machines.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openMoto } from "../gateway/registry/upstream/moto.ts";
import { run } from "../gateway/registry/run.ts";
import { openEngineIn, type OwnEngine } from "../program/recovery/own-engine.ts";

// What docs/deploy/two-machines-compose.md and -systemd.md take for granted, and their commands, for the tests that do what they say.

const PAGES = join(import.meta.dirname, "../../docs/deploy");
const DATABASE_PASSWORD = "a database's password";
const BUCKET_SECRET_KEY = "a-secret-access-key";

export type TwoMachines = {
  one: SwitchedMachine;
  two: SwitchedMachine;
  /** The machine of the database. Its engine is only a manager of the swarm. */
  three: SwitchedMachine;
  /** A command of the page, or a file of it, for one of the two: with real addresses in place of names, and real secrets. */
  written(text: string, on: SwitchedMachine): string;
  databaseCa: string;
};

/** Three machines; PostgreSQL with TLS and a bucket at the address of the test, which stands for a fourth. */
export async function openTwoMachines(t: Test): Promise<TwoMachines> {
  const [one, two, three] = (await openMachines(t, ["one", "two", "three"])) as [SwitchedMachine, SwitchedMachine, SwitchedMachine];
  const folder = tempFolder(t);
  const { here } = one;
  const { cert, key } = makeCertificate(folder, "postgres", undefined, `IP:${here}`);
  const files = {
    "server.crt": cert,
    "server.key": key,
    "pg_hba.conf": "local all all trust\nhost all all 127.0.0.1/32 trust\nhostssl all berth all scram-sha-256\n",
  };
  const paths = Object.fromEntries(
    Object.entries(files).map(([name, text]) => {
      writeFileSync(join(folder, name), text);
      return [name, join(folder, name)];
    }),
  );
  const tls = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];
  const postgres = await startPostgres(t, ["listen_addresses=*", ...tls], paths);
  await postgres.query(`CREATE ROLE berth LOGIN PASSWORD '${DATABASE_PASSWORD.replaceAll("'", "''")}'`);
  await postgres.query("CREATE DATABASE berth OWNER berth");
  const moto = `http://${here}:${await openMoto(t, here)}`;
  const bucket = await fetch(`${moto}/images`, { method: "PUT" });
  if (!bucket.ok) throw new Error(`The bucket cannot be made: ${bucket.status}`);
  const databaseCa = join(folder, "server.crt");

  const written: TwoMachines["written"] = (text, { there }) =>
    [
      ["DNS:one.internal,DNS:two.internal", `IP:${one.there},IP:${two.there}`],
      ["CONTROL_URL=https://one.internal", `CONTROL_URL=https://${there}`],
      ["GATEWAYS_URL=https://one.internal", `GATEWAYS_URL=https://${there}`],
      ["10.0.0.1", there],
      ["one.internal", one.there],
      ["two.internal", two.there],
      ["postgres.internal:5432", `${here}:${postgres.port}`],
      ["https://minio.internal:9000", moto],
      ["/etc/ssl/database-ca.pem", databaseCa],
      ['"$DATABASE_PASSWORD"', `"${DATABASE_PASSWORD}"`],
      ['"$BUCKET_SECRET_KEY"', BUCKET_SECRET_KEY],
      ["sudo ", ""],
    ].reduce((result, [from = "", to = ""]) => result.replaceAll(from, to), text);
  return { one, two, three, written, databaseCa };
}

/** The blocks of code of a page, in their order. */
export function blocksOf(page: "two-machines-compose" | "two-machines-systemd"): string[] {
  return [...readFileSync(join(PAGES, `${page}.md`), "utf8").matchAll(/^```\w+\n(.*?)^```/gms)].map(([, text = ""]) => text);
}

/** Makes the secrets as the page says, in a folder for each of the two: the same in both. */
export async function makeSecrets({ one, written }: TwoMachines, folders: readonly string[]): Promise<void> {
  const [first = ""] = folders;
  const [commands = ""] = blocksOf("two-machines-compose");
  await shell(written(commands, one), first);
  for (const other of folders.slice(1)) execFileSync("cp", ["-a", join(first, "secrets"), other]);
}

/** Runs lines of the page as an administrator would, who stops where one fails. */
export async function shell(lines: string, cwd: string, env: Record<string, string> = {}): Promise<string> {
  const { code, output } = await run("sh", ["-ec", `cd "$0"\n${lines}`, cwd], { env });
  if (code !== 0) throw new Error(`${lines}\nended with ${code}:\n${output}`);
  return output;
}

/** An engine on each machine, all of them managers of one swarm. Tasks run on `one` and `two`. */
export async function openManagers(t: Test, machines: readonly SwitchedMachine[]): Promise<OwnEngine[]> {
  const engines = await Promise.all(
    machines.map(async (machine) => {
      const engine = await openEngineIn(machine);
      t.teardown(() => engine.close());
      return engine;
    }),
  );
  const [first, ...others] = engines as [OwnEngine, ...OwnEngine[]];
  await first.docker.swarmInit({ AdvertiseAddr: first.there, ListenAddr: `${first.there}:2377` });
  const { JoinTokens } = (await first.docker.swarmInspect()) as { JoinTokens: { Manager: string } };
  for (const { docker, there } of others) {
    const joining = { AdvertiseAddr: there, ListenAddr: `${there}:2377`, RemoteAddrs: [`${first.there}:2377`], JoinToken: JoinTokens.Manager };
    await docker.swarmJoin(joining);
  }
  const label = async ({ docker }: OwnEngine) => {
    const { Swarm } = (await docker.info()) as { Swarm: { NodeID: string } };
    type Node = { Spec: object; Version: { Index: number } };
    const node = (await first.docker.getNode(Swarm.NodeID).inspect()) as Node;
    await first.docker.getNode(Swarm.NodeID).update({ _query: { version: node.Version.Index }, _body: { ...node.Spec, Labels: { role: "cvm" } } });
  };
  for (const engine of engines.slice(0, 2)) await label(engine);
  return engines;
}

/** What an entrance answers at a path. */
export async function statusAt({ there }: SwitchedMachine, path: string): Promise<number> {
  const { output } = await run("curl", [
    "--silent",
    "--insecure",
    "--max-time",
    "3",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}",
    `https://${there}:8443${path}`,
  ]);
  return Number(output);
}

/** Which of the two leads; waits until one does. */
export function leaderOf(machines: readonly SwitchedMachine[]): Promise<SwitchedMachine> {
  return eventually("one to lead", async () => {
    const statuses = await Promise.all(machines.map((machine) => statusAt(machine, "/readyz")));
    return machines[statuses.indexOf(200)];
  });
}

/** Copies files of the source tree into a new folder. */
export function copyTo(folder: string, ...files: string[]): string {
  mkdirSync(folder, { recursive: true });
  for (const file of files) copyFileSync(join(import.meta.dirname, "../..", file), join(folder, file.slice(file.lastIndexOf("/") + 1)));
  return folder;
}

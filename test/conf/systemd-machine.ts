import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { eventually } from "../fixtures/eventually.ts";
import type { SwitchedMachine } from "../fixtures/machines.ts";
import { type Ran, run } from "../gateway/registry/run.ts";

const BOOTS_WITHIN_MS = 120_000;

/** A machine whose first process is systemd. Its files are those of this machine, and its changes are in memory. */
export type SystemdMachine = {
  /** Runs a command in there as root. */
  run(...command: string[]): Promise<Ran>;
  /** The same for lines of a shell; throws where one fails. */
  shell(lines: string): Promise<string>;
  /** The last lines of a unit's journal. */
  journal(unit: string): Promise<string>;
};

/** Boots this machine's systemd in a container of its own, in the network of `machine`, with nothing but its basic units. `binds`: as in systemd-nspawn(1). */
export async function bootSystemd(
  t: { teardown(end: () => unknown): void },
  machine: SwitchedMachine,
  binds: readonly string[],
): Promise<SystemdMachine> {
  const options = [
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--console=pipe",
    `--machine=${machine.name}`,
    `--network-namespace-path=/proc/${machine.pid}/ns/net`,
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    ...binds.map((bind) => `--bind=${bind}`),
  ];
  // Mounts end with the namespace.
  const script = `mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
exec systemd-nspawn --directory=/mnt/root ${options.join(" ")} /usr/lib/systemd/systemd systemd.unit=basic.target systemd.log_target=console`;
  const env = { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1", SYSTEMD_COLORS: "0" };
  const nspawn = spawn("setpriv", ["--pdeathsig=KILL", "unshare", "--mount", "sh", "-ec", script], { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [nspawn.stdout, nspawn.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => void (output += piece));
  /** systemd, by its number here. */
  const firstProcess = () => {
    const [first] = readFileSync(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`, "utf8").split(" ").map(Number);
    return first !== undefined && first > 0 ? first : undefined;
  };
  t.teardown(async () => {
    const gone = once(nspawn, "exit");
    if (nspawn.exitCode !== null || nspawn.signalCode !== null) return;
    const pid = firstProcess();
    // The end of systemd ends all that it started; that of systemd-nspawn would leave them.
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    if (nspawn.kill("SIGKILL")) await gone;
  });
  const inside = async (...command: string[]) => {
    const pid = firstProcess();
    if (pid === undefined) throw new Error(`systemd has ended:\n${output}`);
    return run("nsenter", ["--target", String(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", ...command], {
      env: { PATH: "/usr/local/bin:/usr/bin:/usr/sbin" },
    });
  };
  await eventually(
    () => `systemd to boot:\n${output.slice(-4_000)}`,
    async () => {
      if (nspawn.exitCode !== null) throw new Error(`systemd-nspawn ended:\n${output}`);
      return firstProcess() !== undefined && (await inside("systemctl", "is-active", "basic.target")).code === 0;
    },
    BOOTS_WITHIN_MS,
  );
  return {
    run: inside,
    shell: async (lines) => {
      const ran = await inside("sh", "-ec", lines);
      if (ran.code !== 0) throw new Error(`${lines}\nended with ${ran.code}:\n${ran.output}`);
      return ran.output;
    },
    journal: async (unit) => (await inside("journalctl", "--no-pager", "--output=cat", "-n", "60", "-u", unit)).output,
  };
}

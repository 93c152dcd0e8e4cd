import { execFileSync, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../fixtures/eventually.ts";
import type { ClusterPlace } from "../fixtures/control-cluster.ts";

const BRIDGE = "berth0";
const HOSTS = { services: "10.77.0.1", database: "10.77.0.2" } as const;
/** The ports of the process driver. Its services run in the network of the harness, and are reached at loopback from each of the others. */
const SERVICE_PORTS = "20000:32767";
const FAKETIME = `/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/faketime/libfaketimeMT.so.1`;

/** Which packets are lost, as the process sees it. `sent`: what it sends arrives nowhere, but it still receives. */
export type CutDirection = "both" | "sent" | "received";

/** A network namespace for one process, with a wall clock of its own. */
export type FailoverPlace = ClusterPlace & {
  /** Every packet between this one and `peers` is lost in that direction, until the returned function is called. */
  cut(peers: readonly string[], direction: CutDirection): () => void;
  /** Sets its wall clock this far ahead of the machine's, or behind it. Its monotonic clock goes on. */
  setClock(aheadSeconds: number): void;
};

export type FailoverNetworks = {
  /** At which the places reach the database, which runs in the network of the harness. */
  databaseHost: string;
  controls: FailoverPlace[];
  gateways: FailoverPlace[];
  /** Runs a program of a place in the network of the harness: as the command of a Dockerfile. */
  outside: readonly string[];
};

/** To be called in a network of its own, with nothing but loopback. A bridge connects the places with each other, the database and the services. */
export async function openNetworks(
  t: { teardown(end: () => unknown): void },
  { folder, controls, gateways }: { folder: string; controls: number; gateways: number },
): Promise<FailoverNetworks> {
  if (!existsSync(FAKETIME)) throw new Error(`${FAKETIME} is missing: install libfaketime.`);
  run("ip", ["link", "add", BRIDGE, "type", "bridge"]);
  for (const host of Object.values(HOSTS)) run("ip", ["address", "add", `${host}/24`, "dev", BRIDGE]);
  run("ip", ["link", "set", BRIDGE, "up"]);
  const open = (name: string, host: string) => openPlace(t, { name, host, folder });
  const places = async (count: number, kind: string, first: number) => {
    const list: FailoverPlace[] = [];
    for (let at = 0; at < count; at++) list.push(await open(`${kind}${at}`, `10.77.0.${first + at}`));
    return list;
  };
  return {
    databaseHost: HOSTS.database,
    controls: await places(controls, "control", 11),
    gateways: await places(gateways, "gateway", 21),
    outside: ["nsenter", `--net=/proc/${process.pid}/ns/net`],
  };
}

async function openPlace(
  t: { teardown(end: () => unknown): void },
  { name, host, folder }: { name: string; host: string; folder: string },
): Promise<FailoverPlace> {
  // It only keeps the namespace.
  const keeper = spawn("setpriv", ["--pdeathsig=KILL", "unshare", "--net", "sleep", "infinity"], { stdio: "ignore" });
  t.teardown(() => keeper.kill("SIGKILL"));
  const command = ["nsenter", `--net=/proc/${keeper.pid}/ns/net`] as const;
  const inside = (...line: string[]) => run(command[0], [command[1], ...line]);
  await eventually(`the network of ${name}`, () => keeper.pid !== undefined && namespaceOf(keeper.pid) !== namespaceOf(process.pid));
  run("ip", ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", String(keeper.pid)]);
  run("ip", ["link", "set", name, "master", BRIDGE, "up"]);
  inside("ip", "link", "set", "lo", "up");
  inside("ip", "address", "add", `${host}/24`, "dev", "eth0");
  inside("ip", "link", "set", "eth0", "up");
  writeInside(inside, "/proc/sys/net/ipv4/conf/all/route_localnet", "1");
  const services = ["-p", "tcp", "--dport", SERVICE_PORTS];
  inside("iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-d", "127.0.0.1", ...services, "-j", "DNAT", "--to-destination", HOSTS.services);
  inside("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-d", HOSTS.services, ...services, "-j", "MASQUERADE");
  const clockFile = join(folder, `${name}.clock`);
  const setClock = (seconds: number) => writeFileSync(clockFile, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
  setClock(0);
  return {
    host,
    command,
    env: {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: clockFile,
      // Seconds until a change of the file counts.
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
    },
    setClock,
    cut: (peers, direction) => {
      const rules = peers.flatMap((peer) => [
        ...(direction === "sent" ? [] : [["INPUT", "-s", peer]]),
        ...(direction === "received" ? [] : [["OUTPUT", "-d", peer]]),
      ]);
      const apply = (verb: "-I" | "-D") => rules.forEach((rule) => inside("iptables", "-w", verb, ...rule, "-j", "DROP"));
      apply("-I");
      return () => apply("-D");
    },
  };
}

function namespaceOf(pid: number): string {
  return execFileSync("readlink", [`/proc/${pid}/ns/net`], { encoding: "utf8" });
}

function writeInside(inside: (...line: string[]) => void, path: string, text: string): void {
  inside("sh", "-c", `echo ${text} > ${path}`);
}

function run(program: string, args: readonly string[]): void {
  execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
}

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { eventually } from "../../fixtures/eventually.ts";

/** A network beside ours, with a cable between the two; it ends with this process at the latest. */
export type OwnNetwork = {
  /** What is reached in there from here. */
  subnet: string;
  /** Where this machine is reached from in there. */
  here: string;
  /** Where it is reached from this machine. */
  there: string;
  /** Our end of the cable. */
  cable: string;
  /** The process that keeps it. */
  pid: string;
  /** The program and arguments that run a command line in there. */
  inside(...command: string[]): [program: string, args: string[]];
  close(): Promise<void>;
};

/** Debian keeps these programs out of an ordinary PATH. */
export const ENV = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

/** `nth` tells several of one process apart. */
export async function openOwnNetwork(nth = 0): Promise<OwnNetwork> {
  const run = (program: string, args: string[]) => execFileSync(program, args, { env: ENV, stdio: ["ignore", "ignore", "inherit"] });
  const ip = (...args: string[]) => run("ip", args);
  // The network is there for as long as a process is in it.
  const keeper = spawn("setpriv", ["--pdeathsig=KILL", "unshare", "--net", "sleep", "infinity"], { env: ENV, stdio: "ignore" });
  const pid = String(keeper.pid);
  const inside: OwnNetwork["inside"] = (...command) => ["nsenter", ["--net", "--target", pid, "--", ...command]];
  const close = async () => {
    if (keeper.exitCode !== null || keeper.signalCode !== null) return;
    const gone = once(keeper, "exit");
    keeper.kill("SIGKILL");
    await gone;
  };
  const ours = readlinkSync("/proc/self/ns/net");
  try {
    await eventually("the network to be there", async () => (readlinkSync(`/proc/${pid}/ns/net`) === ours ? undefined : true));
    const { block, subnet } = claimSubnet(process.pid + nth * 83);
    const [near, far] = [`berth${process.pid}${nth === 0 ? "" : `n${nth}`}`, "outside"];
    ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", pid);
    const [here, there] = [`10.212.${block}.1`, `10.212.${block}.2`];
    ip("address", "add", `${here}/30`, "dev", near);
    ip("link", "set", near, "up");
    for (const args of ["link set lo up", `address add ${there}/30 dev ${far}`, `link set ${far} up`]) {
      run(...inside("ip", ...args.split(" ")));
    }
    ip("route", "replace", subnet, "via", there);
    return { subnet, here, there, cable: near, pid, inside, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const BLOCKS = 250;

/** The first free block of addresses from `first` on: tests that run at the same time have networks too. Taken by a route, which only one can add. */
function claimSubnet(first: number): { block: number; subnet: string } {
  for (let nth = 0; nth < BLOCKS; nth++) {
    const block = (first + nth) % BLOCKS;
    // A /20, the smallest that berth takes for its networks; none of those that it takes by default.
    const subnet = `10.${160 + (block >> 4)}.${(block & 15) << 4}.0/20`;
    const { status, stderr } = spawnSync("ip", ["route", "add", "blackhole", subnet], { env: ENV, encoding: "utf8" });
    if (status === 0) return { block, subnet };
    if (!stderr.includes("File exists")) throw new Error(`A network cannot be opened: ${stderr}`);
  }
  throw new Error("Every block of addresses for networks of tests is taken");
}

/**
 * A second cable, from one to the other of two networks: what it is called at its two ends. The second is then reached from here through the first,
 * as are we from it.
 */
export function joinNetworks(first: OwnNetwork, second: OwnNetwork): { first: string; second: string } {
  const run = (program: string, args: string[]) => execFileSync(program, args, { env: ENV, stdio: ["ignore", "ignore", "inherit"] });
  const net = `10.214.${process.pid % 250}`;
  const ends = { first: `${net}.1`, second: `${net}.2` };
  run("ip", ["link", "add", "between", "netns", first.pid, "type", "veth", "peer", "name", "between", "netns", second.pid]);
  for (const [network, address] of [
    [first, ends.first],
    [second, ends.second],
  ] as const) {
    run(...network.inside("ip", "address", "add", `${address}/30`, "dev", "between"));
    run(...network.inside("ip", "link", "set", "between", "up"));
  }
  run("ip", ["route", "add", `${net}.0/30`, "via", first.there]);
  run(...second.inside("ip", "route", "add", `${first.here}/32`, "via", ends.first));
  return ends;
}

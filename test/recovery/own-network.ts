import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { eventually } from "../fixtures/berth.ts";

/** A network beside ours, with a cable between the two; it ends with this process at the latest. */
export type OwnNetwork = {
  /** What is reached in there from here. */
  subnet: string;
  /** Where this machine is reached from in there. */
  here: string;
  /** Where it is reached from this machine. */
  there: string;
  /** The program and arguments that run a command line in there. */
  inside(...command: string[]): [program: string, args: string[]];
  close(): Promise<void>;
};

/** Debian keeps these programs out of an ordinary PATH. */
export const ENV = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

export async function openOwnNetwork(): Promise<OwnNetwork> {
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
    await eventually("the network to be there", 5_000, async () => (readlinkSync(`/proc/${pid}/ns/net`) === ours ? undefined : true));
    // No two runs on one machine take the same addresses.
    const block = process.pid % 250;
    const subnet = `10.213.${block}.0/24`;
    const [near, far] = [`berth${process.pid}`, "outside"];
    ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", pid);
    const [here, there] = [`10.212.${block}.1`, `10.212.${block}.2`];
    ip("address", "add", `${here}/30`, "dev", near);
    ip("link", "set", near, "up");
    for (const args of ["link set lo up", `address add ${there}/30 dev ${far}`, `link set ${far} up`]) {
      run(...inside("ip", ...args.split(" ")));
    }
    ip("route", "add", subnet, "via", there);
    return { subnet, here, there, inside, close };
  } catch (error) {
    await close();
    throw error;
  }
}

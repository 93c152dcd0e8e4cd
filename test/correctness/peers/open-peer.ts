import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import type { Scope } from "../probe-row.ts";
import { openRawContainer } from "../raw-container.ts";
import type { Probed } from "../row.ts";
import type { PeerProgram } from "./programs.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort } from "../../fixtures/server.ts";

/** Another proxy, in a process of its own, in front of a raw container. */
export async function openPeer(scope: Scope, peer: PeerProgram): Promise<Probed> {
  const container = await openRawContainer(scope);
  const port = await freePort();
  const folder = tempFolder(scope);
  const [program = "", ...args] = peer.argv({ port, upstream: container.address.port, folder });
  const child = spawn(program, args, { stdio: "ignore" });
  scope.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const died = () => Promise.reject(new Error(`${peer.name} does not listen`));
  await eventually(`${peer.name} listens`, async () => (child.exitCode === null ? listens(port) : died()));
  return { port, container, at: (path) => path, connected: (path) => path, lines: [], lastUse: () => 0 };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

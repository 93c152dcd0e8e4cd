import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import type { Scope } from "../probe-row.ts";
import { openRawContainer } from "../raw-container.ts";
import type { Probed } from "../row.ts";
import type { PeerProgram } from "./programs.ts";

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
  for (let tries = 0; !(await listens(port)); tries++) {
    if (tries > 500 || child.exitCode !== null) throw new Error(`${peer.name} does not listen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

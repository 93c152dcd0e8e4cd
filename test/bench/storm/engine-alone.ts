import { once } from "node:events";
import { connect } from "node:net";
import type Docker from "dockerode";
import { pause } from "../../fixtures/clock.ts";

const PORT = 15353;

/** `onReady`: called while all of them run. */
export type EngineAlonePlan = { image: string; network: string; count: number; atOnce: number; onReady(): void };

/** What the engine takes by itself: creates and starts so many containers, `atOnce` at a time, until each accepts a connection. Milliseconds. Leaves nothing behind. */
export async function engineAlone(docker: Docker, plan: EngineAlonePlan): Promise<number> {
  const { image, network, count, atOnce } = plan;
  const made: string[] = [];
  const ready: Promise<void>[] = [];
  const HostConfig = { NetworkMode: network, NanoCpus: 250_000_000, Memory: 128 * 1_048_576, MemorySwap: 128 * 1_048_576 };
  const began = performance.now();
  let left = count;
  const worker = async () => {
    while (left-- > 0) {
      const container = await docker.createContainer({ Image: image, HostConfig });
      made.push(container.id);
      await container.start();
      const { NetworkSettings } = await container.inspect();
      ready.push(accepts(NetworkSettings.Networks[network]?.IPAddress ?? ""));
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, worker));
    await Promise.all(ready);
    const tookMs = performance.now() - began;
    plan.onReady();
    return tookMs;
  } finally {
    await Promise.all(made.map((id) => docker.getContainer(id).remove({ force: true })));
  }
}

async function accepts(host: string): Promise<void> {
  for (;;) {
    const socket = connect({ host, port: PORT });
    try {
      await once(socket, "connect");
      return;
    } catch {
      await pause(25);
    } finally {
      socket.destroy();
    }
  }
}

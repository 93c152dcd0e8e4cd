import type Docker from "dockerode";

/** What a test does to containers of the real engine, past every driver. `squatter` names one that runs `image` for a moment. */
export function dockerWorld(docker: Docker, { network, image, squatter }: { network: string; image: string; squatter: () => string }) {
  return {
    kill: async (service: string) => {
      await docker.getContainer(service).kill();
    },
    /** At once: an app that is still loading has not begun to listen to SIGTERM, and would use up its whole grace time. */
    remove: (service: string) => docker.getContainer(service).remove({ force: true }),
    /** Another container takes its old address before it is connected again. */
    move: async (service: string) => {
      const at = docker.getNetwork(network);
      await at.disconnect({ Container: service, Force: true });
      const holder = await docker.createContainer({ name: squatter(), Image: image, HostConfig: { NetworkMode: network } });
      await holder.start();
      await at.connect({ Container: service });
      await docker.getContainer(service).restart({ t: 0 });
      await holder.remove({ force: true });
    },
    left: async (prefix: string) => {
      const all = await docker.listContainers({ all: true });
      return all.flatMap(({ Names }) => Names.map((found) => found.slice(1))).filter((found) => found.startsWith(prefix));
    },
  };
}

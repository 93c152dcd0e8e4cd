import type { Upstream } from "../gateway/registry/upstream/upstream.ts";

/** The registry of berth's own, behind its socket. It asks nobody who they are: nobody else reaches its socket. */
export function ownUpstream(socketPath: string): Upstream {
  return {
    target: { socketPath },
    host: "localhost",
    basePath: "",
    nameOf: (repository) => repository,
    authorization: () => undefined,
    refused: async () => undefined,
    close: async () => {},
  };
}

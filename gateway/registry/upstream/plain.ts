import type { Target } from "../../directory.ts";
import type { Upstream } from "./upstream.ts";

/** A registry of one's own that asks nobody who they are, such as one on a private socket. */
export function plainUpstream({ target, host }: { target: Target; host: string }): Upstream {
  return {
    target,
    host,
    basePath: "",
    nameOf: (repository) => repository,
    authorization: () => undefined,
    refused: async () => undefined,
    close: async () => {},
  };
}

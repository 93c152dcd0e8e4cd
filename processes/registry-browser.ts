import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import type { RegistryBrowser } from "../gateway/contract.ts";
import { raceAbort } from "../lib/deadline.ts";
import type { Log } from "../lib/log.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";
import type { Upstream } from "../gateway/registry/upstream/upstream.ts";

/**
 * The registry that this berth's proxy stands before, for people to look into; undefined where there is none. Opened when it is first asked: its
 * client costs tens of megabytes, and ECR has to be asked where it is.
 */
export function registryBrowser(deps: { settings: Settings; runtime: RuntimeFolder; clock: Clock; log: Log }): RegistryBrowser | undefined {
  const { settings, runtime, clock, log } = deps;
  const { kind, url, ecrMode } = settings.registry;
  const isOwn = kind === "embedded";
  if (!isOwn && url === undefined && !ecrMode) return undefined;
  const closing = new AbortController();
  let opening: Promise<RegistryBrowser> | undefined;

  const open = async (): Promise<RegistryBrowser> => {
    const [{ openRegistryHttp }, { openUpstream }, { openBrowser }] = await Promise.all([
      import("../gateway/registry/upstream/registry-http.ts"),
      import("../gateway/registry/upstream/open-upstream.ts"),
      import("../gateway/registry/browse/open-browser.ts"),
    ]);
    if (isOwn)
      return openBrowser({
        upstream: ownUpstream(runtime.registrySocket),
        http: openRegistryHttp({ clock, socketPath: runtime.registrySocket }),
        clock,
      });
    const asked = { ...settings.registry, awsRegion: settings.awsRegion, tokenFile: undefined };
    return openBrowser({ upstream: await openUpstream(asked, { clock, log, signal: closing.signal }), http: openRegistryHttp({ clock }), clock });
  };
  /** One that could not be opened is opened anew by the next question. */
  const opened = (signal: AbortSignal) => {
    opening ??= open().catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return raceAbort(opening, signal);
  };
  return {
    repositories: async (signal) => (await opened(signal)).repositories(signal),
    tags: async (repository, signal) => (await opened(signal)).tags(repository, signal),
    image: async (repository, reference, signal) => (await opened(signal)).image(repository, reference, signal),
    remove: async (repository, digest, signal) => (await opened(signal)).remove(repository, digest, signal),
    close: async () => {
      closing.abort(new Fault("INTERNAL", "berth ends."));
      await (await opening?.catch(() => undefined))?.close();
    },
  };
}

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

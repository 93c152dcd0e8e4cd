import type Docker from "dockerode";
import { NETWORK_LABEL } from "../../drivers/engine/reach.ts";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import type { openEngine } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";
import { run } from "../gateway/registry/run.ts";

/** A whole `berth serve` over a Docker engine, with its registry proxy before a registry. */
export type PackageServer = {
  berth: Berth;
  engine: ReturnType<typeof openEngine>;
  /** Pushes an image of the engine through berth's registry, as the publishing client does, and removes it from the engine. */
  push(ref: string, repositoryTag: string): Promise<void>;
  close(): Promise<void>;
};

/** A package that requests a GPU starts without one on a machine that has none. Public packages declare no `tcp`, so the server names their databases. */
const SETTINGS = {
  BERTH_DRIVER: "docker",
  BERTH_LOG_LEVEL: "info",
  BERTH_GPU_POLICY: "prefer",
  BERTH_TCP_IMAGES: "postgres:5432,datagrok/demo_db_surechembl:5432,datagrok/demo_db_chembl:5432",
};

/** Settings of the environment replace those above. */
function settings(): Record<string, string> {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith("BERTH_"));
  return { ...SETTINGS, ...(Object.fromEntries(own) as Record<string, string>) };
}

/** Below the ports that the system gives away, and apart from those of other runs on this machine. */
function tcpPorts(): string {
  const first = 20_000 + (process.pid % 1_000) * 10;
  return `${first}-${first + 9}`;
}

export async function openPackageServer(engine: ReturnType<typeof openEngine>): Promise<PackageServer> {
  const cleanups: (() => unknown)[] = [];
  const t = { teardown: (act: () => unknown) => cleanups.unshift(act) };
  const close = async () => {
    for (const act of cleanups.splice(0)) await act();
  };
  try {
    const registry = await openDistribution(t);
    const port = await freePort();
    const proxy = `127.0.0.1:${port}`;
    const environment = `packages-${process.pid}`;
    const network = `berth-packages-${process.pid}`;
    t.teardown(() => removeAll(engine.docker, { environment, network, registry: proxy }));
    const berth = await startBerth({
      data: tempFolder(t),
      env: {
        ...settings(),
        BERTH_TCP_PORTS: tcpPorts(),
        BERTH_DOCKER_NETWORK: network,
        GROK_SPAWNER_ENVIRONMENT: environment,
        REGISTRY_URL: registry.host,
        BERTH_REGISTRY_PORT: String(port),
        GROK_PARAMETERS_DOCKER_SETTINGS__REGISTRY_PROXY_HOST: "127.0.0.1",
        GROK_PARAMETERS_DOCKER_SETTINGS__REGISTRY_PROXY_PORT: String(port),
      },
    });
    t.teardown(() => berth.stop());
    await eventually("the registry proxy", () => berth.output().includes(`registry proxy at http://${proxy}`));

    const env = { DOCKER_CONFIG: tempFolder(t), DOCKER_HOST: engine.host };
    const docker = async (args: string[], input = "") => {
      const { code, output } = await run("docker", args, { env, input });
      if (code !== 0) throw new Error(`docker ${args[0]}: ${output.trim().split("\n").at(-1)}`);
    };
    await docker(["login", proxy, "-u", "any", "--password-stdin"], berth.key);
    const push = async (ref: string, repositoryTag: string) => {
      const remote = `${proxy}/${repositoryTag}`;
      await docker(["tag", ref, remote]);
      await docker(["push", "--quiet", remote]);
      await docker(["image", "rm", "--force", remote, ref]);
    };
    return { berth, engine, push, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What berth created at the engine, and what the engine pulled for it. */
async function removeAll(docker: Docker, { environment, network, registry }: Record<"environment" | "network" | "registry", string>): Promise<void> {
  const containers = await docker.listContainers({ all: true, filters: { label: [`berth.environment=${environment}`] } });
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
  const networks = await docker.listNetworks({ filters: { label: [NETWORK_LABEL] } });
  for (const { Id } of networks.filter(({ Name }) => Name.includes(network))) await docker.getNetwork(Id).remove();
  const images = await docker.listImages();
  // By name: another test may have built an image upon this one, which then only loses its name.
  const pulled = images
    .flatMap(({ RepoTags, RepoDigests }) => [...(RepoTags ?? []), ...(RepoDigests ?? [])])
    .filter((name) => name.startsWith(registry));
  for (const name of pulled) await docker.getImage(name).remove({ force: true }).catch(ignoreMissing);
}

/** The last name of an image takes its digests along. */
function ignoreMissing(error: unknown): void {
  if ((error as { statusCode?: number }).statusCode !== 404) throw error;
}

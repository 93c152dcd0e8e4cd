import type Docker from "dockerode";
import type { Test } from "tap";
import { type Berth, type Entity, startBerth } from "../../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../../fixtures/engine.ts";
import { buildTestImages, type TestImage } from "../../fixtures/images.ts";
import { eventually } from "../../fixtures/eventually.ts";

const shared = openEngine();
const images = await buildTestImages(shared.docker);

export const engineHost = shared.host;

/** A whole berth over the real engine, in a network and an environment of its own, and a view of the engine that goes past berth. */
export type RecoveryFixture = {
  berth: () => Berth;
  docker: Docker;
  environment: string;
  env: Record<string, string>;
  data: string;
  /** The container entity with this folder's name. */
  entity(folder: string): Promise<Entity>;
  ask(folder: string, path: string): Promise<Response>;
  /** A user's `run`, waited for. */
  run(folder: string): Promise<void>;
  until(folder: string, ...statuses: string[]): Promise<Entity>;
  /** The engine's ids of all instances of it, running or not. */
  instances(folder: string): Promise<string[]>;
  history(folder: string): Promise<HistoryLine[]>;
  /** `kill -9` of all its processes, and another start. */
  restart(): Promise<void>;
  publish(folders: Record<string, object>): Promise<void>;
};

export type HistoryLine = { time: string; from: string; to: string; event: string; by: string; cause: { code: string; message: string } | null };

/** `folders`: container.json by folder; `image` is a name of the test images. */
export async function openStand(
  t: Test,
  name: string,
  folders: Record<string, { image: TestImage; [more: string]: unknown }>,
  options: {
    dockerHost?: string;
    dockerSettings?: object;
    env?: Record<string, string>;
    engine?: { docker: Docker; images: Partial<typeof images> };
  } = {},
): Promise<RecoveryFixture> {
  const { docker, images: refs } = options.engine ?? { docker: shared.docker, images };
  const environment = `${name}-${process.pid}`;
  const data = t.testdir();
  const env = {
    BERTH_DRIVER: "docker",
    BERTH_DOCKER_NETWORK: `berth-${environment}`,
    GROK_SPAWNER_ENVIRONMENT: environment,
    GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 30_000, ...options.dockerSettings } }),
    ...(options.dockerHost === undefined ? {} : { DOCKER_HOST: options.dockerHost }),
    ...options.env,
  };
  let berth = await startBerth({ data, env });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(docker, environment, env.BERTH_DOCKER_NETWORK);
  });

  const stand: RecoveryFixture = {
    berth: () => berth,
    docker,
    environment,
    env,
    data,
    entity: (folder) => berth.container(`${name}-${folder}`),
    ask: async (folder, path) => berth.call(`/docker/containers/proxy/${(await stand.entity(folder)).id}${path}`),
    run: async (folder) => {
      const answer = await berth.call(`/docker/containers/${(await stand.entity(folder)).id}/run?awaitStart=true`);
      if (answer.status >= 400) throw new Error(await answer.text());
    },
    until: (folder, ...statuses) => berth.until(`${name}-${folder}`, statuses),
    instances: async (folder) => {
      const { id } = await stand.entity(folder);
      const containers = await docker.listContainers({ all: true, filters: { label: [`berth.container=${id}`] } });
      return containers.map((one) => one.Id);
    },
    history: async (folder) => {
      const answer = await berth.call(`/docker/containers/${(await stand.entity(folder)).id}/history`);
      return (await answer.json()) as HistoryLine[];
    },
    restart: async () => {
      await berth.kill();
      berth = await startBerth({ data, env });
    },
    publish: async (published) => {
      const files = Object.entries(published).map(([folder, json]) => [`dockerfiles/${folder}/container.json`, JSON.stringify(json)]);
      const packageJson = ["package.json", JSON.stringify({ name, version: "1.0.0" })];
      const answer = await berth.publish(name, Object.fromEntries([packageJson, ...files]) as Record<string, string>);
      if (answer.status !== 200) throw new Error(await answer.text());
    },
  };
  const json = Object.fromEntries(Object.entries(folders).map(([folder, { image, ...more }]) => [folder, { ...more, image: refs[image] }]));
  await stand.publish(json);
  for (const folder of Object.keys(folders)) {
    await eventually(`the image of ${folder} to be ready`, async () => (await stand.entity(folder)).dockerfile.status === "ready");
  }
  return stand;
}

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createDockerCommand, prepareImage } from "../../../cli/publish/prepare-image.ts";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

t.test("an image is built for linux/amd64, unless it stays on this machine or Docker's own variable names another platform", async (t) => {
  const platformFor = async (registry: string | undefined, env: NodeJS.ProcessEnv) => {
    const platforms: (string | undefined)[] = [];
    const docker = {
      login: async () => {},
      build: async (_folder: string, _tag: string, platform: string | undefined) => void platforms.push(platform),
      tag: async () => {},
      push: async () => {},
    };
    const call = async () => {
      throw new Fault("IMAGE_ENTITY_NOT_FOUND", "There is none.");
    };
    await prepareImage({ folder: "app", hash: "h", at: "/tmp", ref: "datagrok/x-app:1" } as Parameters<typeof prepareImage>[0], {
      packageName: "x",
      version: "1",
      rebuild: false,
      registry,
      server: { call },
      docker: async () => docker,
      env,
      progress: { update: () => {}, end: () => {} } as unknown as Parameters<typeof prepareImage>[1]["progress"],
    });
    return platforms;
  };
  t.strictSame(await platformFor("registry.test:5000", {}), ["linux/amd64"]);
  t.strictSame(await platformFor("registry.test:5000", { DOCKER_DEFAULT_PLATFORM: "linux/arm64" }), [undefined]);
  t.strictSame(await platformFor("127.0.0.1:5000", {}), [undefined]);
  t.strictSame(await platformFor(undefined, {}), [undefined]);
});

t.test("a build that fails names what docker printed last, also without a line end", async (t) => {
  const bin = tempFolder(t);
  writeFileSync(join(bin, "docker"), '#!/bin/sh\n[ "$1" = build ] || exit 0\necho "step 1"\nprintf "ERROR: no such platform" >&2\nexit 1\n', {
    mode: 0o755,
  });
  const env = { PATH: `${bin}:${process.env["PATH"]}`, DOCKER_HOST: "unix:///none" };
  const docker = await createDockerCommand({ env, config: tempFolder(t), clock: systemClock(), signal: new AbortController().signal });
  const fault = await docker.build("app", "x:1", undefined, () => {}).catch((error: unknown) => error as Fault);
  t.same((fault as Fault).logs?.toSorted(), ["ERROR: no such platform", "step 1"]);
});

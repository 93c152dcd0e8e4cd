import t from "tap";
import { prepareImage } from "../../../cli/publish/prepare-image.ts";
import { Fault } from "../../../lib/fault.ts";

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

import { join } from "node:path";
import t from "tap";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";

/** With Docker's default seccomp profile, and without rights that a container has by default. */
t.test("ffi works in a container without capabilities, without io_uring", async (t) => {
  const { docker } = openEngine();
  const images = await buildTestImages(docker, ["onDemand"]);
  const script = `
    import { testFfi } from "/berth/gateway/connections/choose-sockets.ts";
    import { systemClock } from "/berth/lib/clock.ts";
    import { readFileSync } from "node:fs";
    const { ring, ringProblem, problem } = await testFfi(systemClock());
    console.log(ring, ringProblem, problem);
    console.log(readFileSync("/proc/self/status", "utf8").match(/^Seccomp:.*$/m)[0]);`;
  const container = await docker.createContainer({
    Image: images.onDemand,
    User: "65534:65534",
    Cmd: ["node", "--input-type=module", "--eval", script],
    HostConfig: {
      Binds: [`${join(import.meta.dirname, "../../..")}:/berth:ro`],
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      ReadonlyRootfs: true,
      NetworkMode: "none",
    },
  });
  t.teardown(() => container.remove({ force: true }));
  await container.start();
  const { StatusCode: status } = (await container.wait()) as { StatusCode: number };
  const output = (await container.logs({ stdout: true, stderr: true })).toString("latin1");
  t.equal(status, 0, output);
  t.match(output, /undefined io_uring_setup EPERM undefined/);
  t.match(output, /Seccomp:\s+2/, "a filter is in force");
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { stageConfig } from "../../../conf/release/image.ts";

const DOCKERFILE = readFileSync(join(import.meta.dirname, "../../../conf/docker/Dockerfile"), "utf8");

t.test("the image of a release is configured as the Dockerfile says", async (t) => {
  t.match(stageConfig(DOCKERFILE), { User: "10001:10001", Entrypoint: ["berth"], Volumes: { "/var/lib/berth": {} }, StopSignal: "SIGTERM" });
  t.match(stageConfig(DOCKERFILE)["Env"], ["PATH=/usr/local/bin", "BERTH_ROLE=serve"]);
});

t.test("a line that a release would leave out fails it", async (t) => {
  t.throws(() => stageConfig(DOCKERFILE.replace("USER 10001:10001\n", "USER 10001:10001\nONBUILD RUN true\n")), /does not know this line.*ONBUILD/);
  t.throws(() => stageConfig(DOCKERFILE.replace("COPY --from=system /system /", "COPY --from=system /other /")), /does not know COPY/);
});

import t from "tap";
import type { Driver } from "../../../../drivers/driver.ts";
import { containerJsonOf, requireReplicas } from "../../../../control/packages/publish/require-replicas.ts";

const replicated = (at: string, max: number | undefined) => ({
  at,
  config: max === undefined ? {} : { replicas: { min: 1, max, targetConcurrency: 10, windowSeconds: 60 } },
});

t.test("replicas need a driver that has them, and no more than a package's network has addresses", async (t) => {
  const rows: [what: string, max: (number | undefined)[], available: Driver["replicas"], refused: RegExp | undefined][] = [
    ["none", [undefined], undefined, undefined],
    ["a driver without", [undefined, 2], undefined, /^dockerfiles\/f1\/container\.json: replicas is not available/],
    ["a driver without a limit", [50, 50], {}, undefined],
    ["at the limit, which others do not count for", [4, 3, undefined, undefined], { mostInPackage: 7 }, undefined],
    ["beyond it", [4, 4], { mostInPackage: 7 }, /up to 8 replicas together, .* addresses for 7 on this server\. Lower max\.$/],
  ];
  for (const [what, max, available, refused] of rows) {
    const containers = max.map((one, index) => replicated(containerJsonOf(`f${index}`), one));
    if (refused) t.throws(() => requireReplicas(containers, available), { code: "PACKAGE_INVALID", message: refused }, what);
    else t.doesNotThrow(() => requireReplicas(containers, available), what);
  }
});
